//! A Rust file as far as the rules need it: the paths that its code mentions, without comments, texts and tests.

use std::fmt;

/// A file of the program.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// Every path of names in its code, with groups taken apart.
    pub paths: Vec<CodePath>,
    /// How many lines it has, tests apart.
    pub lines: usize,
}

/// Names joined by `::`, such as `crate::event::Event`.
pub struct CodePath {
    /// Where its last name stands.
    pub line: usize,
    names: Vec<String>,
}

impl CodePath {
    /// Whether `word` is part of it: names in a row, the last of which may go on with an underscore (`actix_web`).
    pub fn mentions(&self, word: &str) -> bool {
        let wanted: Vec<&str> = word.split("::").collect();
        let same = |name: &String, wanted: &&str| {
            name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        self.names.windows(wanted.len()).any(|names| names.iter().zip(&wanted).all(|(name, wanted)| same(name, wanted)))
    }

    /// The name behind `name`.
    pub fn after(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|known| known == name)?;
        self.names.get(at + 1).map(String::as_str)
    }
}

impl fmt::Display for CodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("::"))
    }
}

/// Whether a file holds tests only.
pub fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs" || name == "testing.rs" || name.ends_with("_test.rs") || path.contains("/tests/")
}

impl Source {
    /// Reads a file.
    pub fn parse(path: &str, text: &str) -> Self {
        let (code, test_lines) = without_tests(without_texts(text));
        let lines = text.lines().count() - test_lines;
        Source { path: path.to_owned(), paths: paths(&code), lines }
    }

    /// The module at the root of the program that it belongs to.
    pub fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = below.split('/').next().unwrap_or(below);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The modules at the root of the program that it names, with the lines.
    pub fn imports(&self) -> impl Iterator<Item = (usize, &str)> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let below = below.strip_suffix(".rs").unwrap_or(below);
        let depth = below.strip_suffix("/mod").unwrap_or(below).split('/').count();
        self.paths.iter().filter_map(move |path| {
            let up = path.names.iter().take_while(|name| *name == "super").count();
            let at_root = match path.names.first().map(String::as_str) {
                Some("crate" | "thinkwire") => 1,
                Some("super") if up == depth => up,
                _ => return None,
            };
            Some((path.line, path.names.get(at_root)?.as_str()))
        })
    }
}

/// The text with comments and literals as spaces; every line stays where it is.
fn without_texts(text: &str) -> Vec<char> {
    let mut code: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < code.len() {
        let end = match code[at] {
            '/' if code.get(at + 1) == Some(&'/') => line_end(&code, at),
            '/' if code.get(at + 1) == Some(&'*') => comment_end(&code, at),
            '"' => text_end(&code, at),
            'r' if !at.checked_sub(1).is_some_and(|before| is_name(code[before])) => raw_text_end(&code, at),
            'b' if code.get(at + 1) == Some(&'r') => raw_text_end(&code, at + 1),
            '\'' => char_end(&code, at),
            _ => at,
        };
        blank(&mut code[at..end]);
        at = end.max(at + 1);
    }
    code
}

fn blank(code: &mut [char]) {
    code.iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_end(code: &[char], from: usize) -> usize {
    code[from..].iter().position(|c| *c == '\n').map_or(code.len(), |length| from + length)
}

fn comment_end(code: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < code.len() {
        match (code[at], code[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

fn text_end(code: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < code.len() && code[at] != '"' {
        at += if code[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(code.len())
}

/// The end of `r#"…"#`; `from` itself where no such text begins.
fn raw_text_end(code: &[char], from: usize) -> usize {
    let hashes = code[from + 1..].iter().take_while(|c| **c == '#').count();
    let open = from + 1 + hashes;
    if code.get(open) != Some(&'"') {
        return from;
    }
    let closes =
        |at: usize| code[at] == '"' && code[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (open + 1..code.len()).find(|at| closes(*at)).map_or(code.len(), |at| at + 1 + hashes)
}

/// The end of a character; `from` itself where it is a lifetime.
fn char_end(code: &[char], from: usize) -> usize {
    match code.get(from + 1) {
        Some('\\') => {
            let closes = code.iter().skip(from + 3).position(|c| *c == '\'');
            closes.map_or(from, |length| from + 3 + length + 1)
        }
        Some(_) if code.get(from + 2) == Some(&'\'') => from + 3,
        _ => from,
    }
}

/// The code with items below `#[cfg(test)]` as spaces, and how many lines those take.
fn without_tests(mut code: Vec<char>) -> (Vec<char>, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mark: Vec<char> = MARK.chars().collect();
    let (mut at, mut lines) = (0, 0);
    while let Some(found) = code[at..].windows(mark.len()).position(|window| window == mark) {
        let from = at + found;
        let mut end = from + mark.len();
        let mut depth = 0;
        while end < code.len() {
            match code[end] {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            end += 1;
            if depth == 0 && matches!(code[end - 1], '}' | ';') {
                break;
            }
        }
        lines += code[from..end].iter().filter(|c| **c == '\n').count() + 1;
        blank(&mut code[from..end]);
        at = end;
    }
    (code, lines)
}

/// All paths, with groups taken apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(code: &[char]) -> Vec<CodePath> {
    let mut reader = Reader { code, at: 0, line: 1, paths: Vec::new() };
    while reader.at < code.len() {
        if is_name(code[reader.at]) {
            reader.path(&[]);
        } else {
            reader.step();
        }
    }
    reader.paths
}

struct Reader<'a> {
    code: &'a [char],
    at: usize,
    line: usize,
    paths: Vec<CodePath>,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.code[self.at] == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn peek(&self) -> Option<char> {
        self.code.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_name(*c)) {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// One path from its first name on, behind `before`.
    fn path(&mut self, before: &[String]) {
        let mut names = before.to_vec();
        let mut line = self.line;
        loop {
            match self.peek() {
                Some(c) if is_name(c) => {
                    line = self.line;
                    let name = self.name();
                    names.push(name);
                }
                Some('{') => return self.group(&names),
                Some('*') => {
                    self.step();
                    break;
                }
                _ => break,
            }
            if self.code[self.at..].starts_with(&[':', ':']) {
                self.at += 2;
                self.skip_spaces();
            } else {
                break;
            }
        }
        self.paths.push(CodePath { line, names });
    }

    fn group(&mut self, before: &[String]) {
        self.step();
        while let Some(c) = self.peek() {
            match c {
                '}' => return self.step(),
                c if is_name(c) || c == '*' => self.path(before),
                _ => self.step(),
            }
        }
    }
}
