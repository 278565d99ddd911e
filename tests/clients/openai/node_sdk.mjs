// OpenAI's client library for Node as it comes, against a Thinkwire server.
//
// node node_sdk.mjs CASE BASE_URL MODEL [EXTRA]
//
// Plays one case and prints one JSON object: what the library gave its user. EXTRA is a JSON object of more fields for the
// request. The cases are those of python_sdk.py, and so are the keys of what is printed.

import OpenAI from "openai";

const PROMPT = [{ role: "user", content: "What is 2+2?" }];
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

function tell(seen) {
  console.log(JSON.stringify(seen));
}

const cases = {
  // All of an answer, joined from its chunks.
  async stream(client, model, extra) {
    let reasoning = "";
    let content = "";
    const [ids, models, roles, finish, usage] = [new Set(), new Set(), [], [], []];
    const body = { model, messages: PROMPT, stream: true, stream_options: { include_usage: true }, ...extra };
    for await (const chunk of await client.chat.completions.create(body)) {
      ids.add(chunk.id);
      models.add(chunk.model);
      if (chunk.usage) usage.push(chunk.usage);
      for (const { delta, finish_reason } of chunk.choices) {
        if (delta.role) roles.push(delta.role);
        reasoning += delta.reasoning_content ?? "";
        content += delta.content ?? "";
        if (finish_reason) finish.push(finish_reason);
      }
    }
    tell({ reasoning, content, ids: ids.size, models: [...models].sort(), roles, finish, usage });
  },

  // The same in one piece, with the headers.
  async document(client, model, extra) {
    const asked = client.chat.completions.create({ model, messages: PROMPT, ...extra });
    const { data: answer, response } = await asked.withResponse();
    const [{ message, finish_reason: finish }] = answer.choices;
    tell({
      object: answer.object,
      model: answer.model,
      reasoning: message.reasoning_content,
      content: message.content,
      finish,
      usage: answer.usage,
      request_id: answer._request_id,
      conversation: response.headers.get("x-conversation-id"),
    });
  },

  // Two turns: the model calls, the client answers, the model goes on.
  async tools(client, model, extra) {
    const messages = [{ role: "user", content: "What is the weather in Oslo and in Rome?" }];
    const body = { model, messages, tools: [WEATHER], ...extra };
    const first = (await client.chat.completions.stream(body).finalChatCompletion()).choices[0];
    const calls = first.message.tool_calls;
    messages.push({
      role: "assistant",
      content: first.message.content,
      tool_calls: calls.map(({ id, function: { name, arguments: text } }) => ({
        id,
        type: "function",
        function: { name, arguments: text },
      })),
    });
    for (const call of calls) {
      const { city } = JSON.parse(call.function.arguments);
      messages.push({ role: "tool", tool_call_id: call.id, content: `Rain in ${city}.` });
    }
    const last = (await client.chat.completions.create(body)).choices[0];
    tell({
      finish: [first.finish_reason, last.finish_reason],
      calls: calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
      content: last.message.content,
    });
  },

  // What each of several requests throws, and what came before it.
  async errors(client, model, { requests }) {
    const errors = [];
    for (const more of requests) {
      let content = "";
      try {
        const chunks = await client.chat.completions.create({ model, ...more, messages: PROMPT, stream: true });
        for await (const chunk of chunks) content += chunk.choices[0].delta.content ?? "";
        throw new Error(`nothing was thrown: ${JSON.stringify(more)}`);
      } catch (thrown) {
        if (!(thrown instanceof OpenAI.APIError)) throw thrown;
        const { status, code, type, message } = thrown;
        errors.push({ kind: thrown.constructor.name, status: status ?? null, code, type, message, content });
      }
    }
    tell({ errors });
  },

  // Stops reading after the first words, and lives on until it is told to end.
  async abort(client, model, extra) {
    const chunks = await client.chat.completions.create({ model, messages: PROMPT, stream: true, ...extra });
    let content;
    for await (const chunk of chunks) {
      ({ content } = chunk.choices[0].delta);
      if (content) break;
    }
    tell({ content });
    for await (const _ of process.stdin);
  },

  async models(client, model) {
    const ids = [];
    for await (const known of client.models.list()) ids.push(known.id);
    const { id, object, owned_by } = await client.models.retrieve(model);
    tell({ ids, id, object, owned_by });
  },

  // Two requests of which the second only adds a question.
  async conversation(client, model, extra) {
    const contents = [];
    for (const content of ["I am Ada.", "Who am I?"]) {
      const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content }], ...extra });
      contents.push(answer.choices[0].message.content);
    }
    tell({ contents });
  },
};

const [name, baseURL, model, extra = "{}"] = process.argv.slice(2);
if (!model || !Object.hasOwn(cases, name)) throw new Error(`${name}: a case is one of ${Object.keys(cases)}`);
await cases[name](new OpenAI({ baseURL, apiKey: "unused" }), model, JSON.parse(extra));
