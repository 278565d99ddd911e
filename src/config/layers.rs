//! Where values come from. What is named first beats what is named later:
//!
//! 1. the command line,
//! 2. `THINKWIRE__SECTION__KEY`,
//! 3. the plain variables `DATABASE_URL`, `PORT` and `RUST_LOG`,
//! 4. the extra file that `--config` or `THINKWIRE_CONFIG` names,
//! 5. the file of the environment that `--env` or `THINKWIRE_ENV` names,
//! 6. `config/providers.toml` and `config/default.toml`.
//!
//! Tables are merged key by key, lists are replaced, and `[[models]]` rows of a higher layer are put before the others.

use std::fmt;
use std::path::Path;

use ::config::{FileFormat, Format, Map, Source, Value, ValueKind};

use super::reader::Mistakes;
use super::{Overrides, Variables};

const DEFAULT: &str = include_str!("../../config/default.toml");
const PROVIDERS: &str = include_str!("../../config/providers.toml");
const DEVELOPMENT: &str = include_str!("../../config/development.toml");
const PRODUCTION: &str = include_str!("../../config/production.toml");

const PREFIX: &str = "THINKWIRE__";

/// All layers as one.
pub(super) struct Layered {
    /// `development`, `production` or `test`.
    pub(super) environment: String,
    /// Everything but the `[[models]]` rows.
    pub(super) values: Map<String, Value>,
    /// The `[[models]]` rows, the highest layer's first.
    pub(super) models: Vec<Value>,
}

/// Reads all layers. What cannot be read is noted and left out.
pub(super) fn gather(overrides: &Overrides, variables: &Variables, mistakes: &Mistakes) -> Layered {
    let variable = |name: &str| variables.get(name).filter(|value| !value.is_empty());

    let mut layers =
        vec![parse("config/default.toml", DEFAULT, mistakes), parse("config/providers.toml", PROVIDERS, mistakes)];

    let (environment, source) = match (&overrides.env, variable("THINKWIRE_ENV")) {
        (Some(name), _) => (name.clone(), "--env"),
        (None, Some(name)) => (name.clone(), "THINKWIRE_ENV"),
        (None, None) => ("development".to_owned(), "the defaults"),
    };
    match environment.as_str() {
        "development" => layers.push(parse("config/development.toml", DEVELOPMENT, mistakes)),
        "production" => layers.push(parse("config/production.toml", PRODUCTION, mistakes)),
        // Tests run with the documented defaults.
        "test" => {}
        _ => mistakes.note("THINKWIRE_ENV", source, "must be one of: development, production, test"),
    }

    match (&overrides.config, variable("THINKWIRE_CONFIG")) {
        (Some(path), _) => layers.extend(read(path, "--config", mistakes)),
        (None, Some(path)) => layers.extend(read(Path::new(path), "THINKWIRE_CONFIG", mistakes)),
        (None, None) => {}
    }

    // The rows leave the tree before it is merged: merging would replace the catalogue's list by the operator's.
    let mut models = Vec::new();
    for layer in layers.iter_mut().rev() {
        match layer.0.remove("models") {
            None => {}
            Some(Value { kind: ValueKind::Array(rows), .. }) => models.extend(rows),
            Some(other) => {
                mistakes.note("models", super::reader::source_of(&other), "must be a list of [[models]] tables");
            }
        }
    }

    let files = merge(&layers, mistakes);
    layers.push(plain_variables(&files, variables, mistakes));
    layers.push(named_variables(&files, variables, mistakes));
    layers.push(command_line(overrides));
    Layered { environment, values: merge(&layers, mistakes), models }
}

/// One layer's values, as the `config` crate takes them.
#[derive(Clone, Default)]
struct Layer(Map<String, Value>);

impl fmt::Debug for Layer {
    /// Shows nothing: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Sets the value at `path`, with the tables that lead there.
    fn set(&mut self, path: &[&str], value: &str, source: &str) {
        let source = source.to_owned();
        let Some((last, tables)) = path.split_last() else { return };
        let mut here = &mut self.0;
        for table in tables {
            let entry =
                here.entry((*table).to_owned()).or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if !matches!(entry.kind, ValueKind::Table(_)) {
                *entry = Value::new(None, Map::<String, Value>::new());
            }
            let ValueKind::Table(values) = &mut entry.kind else { return };
            here = values;
        }
        here.insert((*last).to_owned(), Value::new(Some(&source), value));
    }
}

fn merge(layers: &[Layer], mistakes: &Mistakes) -> Map<String, Value> {
    let mut builder = ::config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.clone());
    }
    match builder.build().and_then(|merged| merged.cache.into_table()) {
        Ok(values) => values,
        Err(error) => {
            mistakes.note("", "all layers", format!("cannot be merged: {error}"));
            Map::new()
        }
    }
}

fn parse(name: &str, text: &str, mistakes: &Mistakes) -> Layer {
    match FileFormat::Toml.parse(Some(&name.to_owned()), text) {
        Ok(values) => Layer(values),
        Err(error) => {
            mistakes.note("", name, format!("the file is not valid TOML: {}", without_excerpt(&error.to_string())));
            Layer::default()
        }
    }
}

/// The parser shows the line at fault, which may hold a secret: keeps place and reason only.
fn without_excerpt(message: &str) -> String {
    let parts: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| {
            let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
            !line.is_empty() && !number.trim_start().starts_with('|')
        })
        .collect();
    parts.join(": ")
}

fn read(path: &Path, asked_by: &str, mistakes: &Mistakes) -> Option<Layer> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Some(parse(&name, &text, mistakes)),
        Err(error) => {
            mistakes.note("", asked_by, format!("the file {name} cannot be read: {error}"));
            None
        }
    }
}

/// The variables that other programs and hosts set too.
fn plain_variables(files: &Map<String, Value>, variables: &Variables, mistakes: &Mistakes) -> Layer {
    let mut layer = Layer::default();
    for (name, path) in [("DATABASE_URL", ["store", "url"]), ("RUST_LOG", ["log", "level"])] {
        if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
            layer.set(&path, value, name);
        }
    }
    if let Some(port) = variables.get("PORT").filter(|port| !port.is_empty()) {
        let host = text_at(files, &["server", "listen"])
            .and_then(|listen| listen.rsplit_once(':').map(|(host, _)| host.to_owned()))
            .unwrap_or_else(|| "127.0.0.1".to_owned());
        match port.parse::<u16>() {
            Ok(port) => layer.set(&["server", "listen"], &format!("{host}:{port}"), "PORT"),
            Err(_) => mistakes.note("server.listen", "PORT", "must be a port number from 0 to 65535"),
        }
    }
    layer
}

/// `THINKWIRE__SECTION__KEY`. Names are matched without regard to case, and `_` also stands for the `-` of an HTTP header
/// and of a name that a file has brought in, because variables' names cannot hold one.
fn named_variables(files: &Map<String, Value>, variables: &Variables, mistakes: &Mistakes) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let mut known = Some(files);
        let mut path = Vec::new();
        for part in rest.split("__") {
            let part = part.to_ascii_lowercase();
            let existing = known
                .and_then(|table| table.iter().find(|(key, _)| key.to_ascii_lowercase().replace('-', "_") == part));
            known = existing.and_then(|(_, value)| match &value.kind {
                ValueKind::Table(table) => Some(table),
                _ => None,
            });
            let is_header = path.last().is_some_and(|table| table == "headers");
            let part = if is_header { part.replace('_', "-") } else { part };
            path.push(existing.map_or(part, |(key, _)| key.clone()));
        }
        if path.iter().any(String::is_empty) {
            mistakes.note("", name, "must have the form THINKWIRE__SECTION__KEY");
        } else if path.first().is_some_and(|section| section == "models") {
            mistakes.note("models", name, "can only be set in a file, as [[models]] tables");
        } else {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            layer.set(&path, value, name);
        }
    }
    layer
}

fn command_line(overrides: &Overrides) -> Layer {
    let mut layer = Layer::default();
    let workers = overrides.workers.map(|workers| workers.to_string());
    for (flag, path, value) in [
        ("--listen", ["server", "listen"], overrides.listen.as_ref()),
        ("--workers", ["server", "workers"], workers.as_ref()),
        ("--store", ["store", "url"], overrides.store_url.as_ref()),
    ] {
        if let Some(value) = value {
            layer.set(&path, value, flag);
        }
    }
    layer
}

fn text_at(values: &Map<String, Value>, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    match &values.get(*first)?.kind {
        ValueKind::Table(inner) => text_at(inner, rest),
        ValueKind::String(text) if rest.is_empty() => Some(text.clone()),
        _ => None,
    }
}
