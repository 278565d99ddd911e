// A reader of POST /api/generate as people write it by hand: fetch, split at newlines, look for `data: `.
//
// Usage: fetch_reader.mjs URL PROMPT

const [url, prompt] = process.argv.slice(2);
const response = await fetch(url, {
  method: 'POST',
  headers: { accept: 'text/event-stream' },
  body: JSON.stringify({ prompt }),
});
if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
const decoder = new TextDecoder();
let buffer = '';
let reasoning = '';
let text = '';
let end = null;
for await (const chunk of response.body) {
  buffer += decoder.decode(chunk, { stream: true });
  const lines = buffer.split('\n');
  buffer = lines.pop();
  for (const line of lines) {
    if (!line.startsWith('data: ')) continue;
    const event = JSON.parse(line.slice('data: '.length));
    if (event.type === 'reasoning') reasoning += event.content;
    if (event.type === 'text') text += event.content;
    if (event.type === 'complete' || event.type === 'error') end = event;
  }
}
console.log(JSON.stringify({ reasoning, text, finishReason: end?.finishReason, check: end?.check }));
