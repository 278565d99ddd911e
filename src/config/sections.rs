//! Turns the merged values into the typed configuration and checks what belongs together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ::config::{Value, ValueKind};

use super::layers::Layered;
use super::reader::{Mistakes, Section, source_of};
use super::{
    AgentConfig, ClusterConfig, Config, DefaultConfig, INLINE_SYNTAXES, LimitsConfig, LogConfig, LogFormat, ModelRow,
    Network, OnDisconnect, ProviderConfig, ReasoningConfig, RetryConfig, ServerConfig, StoreConfig, StreamConfig,
    Variables, WebSocketConfig, providers,
};

/// A day: no timeout needs more, and sums of such values never overflow.
const MAX_MS: u64 = 86_400_000;
/// More of anything than a process has.
const MAX_COUNT: u64 = 10_000_000;
/// A size that fits every machine this runs on.
const MAX_BYTES: u64 = 1 << 40;

const UNREACHABLE_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Reads every section. Values are only meaningful while nothing was noted.
pub(super) fn read(layered: Layered, variables: &Variables, protocols: &[&str], mistakes: &Mistakes) -> Config {
    let mut root = Section::new("", layered.values, mistakes);
    let server = read_server(root.section("server"));
    let store = read_store(root.section("store"));
    let cluster = read_cluster(root.section("cluster"));
    let mut default = root.section("default");
    let model_source = default.source("model");
    let model = default.text("model");
    default.finish();
    let aliases = root.section("aliases");
    let providers = providers::read(root.section("providers"), variables, protocols, mistakes);
    let aliases = read_aliases(aliases, &providers, mistakes);
    if !model.is_empty() && !aliases.contains_key(&model) {
        check_target("default.model", &model, &model_source, &providers, mistakes);
    }
    let agents = read_agents(root.section("agents"), &aliases, &providers, mistakes);
    let config = Config {
        environment: layered.environment,
        server,
        store,
        cluster,
        default: DefaultConfig { model },
        aliases,
        agents,
        providers,
        models: layered.models.into_iter().filter_map(|row| read_model_row(row, mistakes)).collect(),
        reasoning: read_reasoning(root.section("reasoning")),
        limits: read_limits(root.section("limits")),
        stream: read_stream(root.section("stream")),
        websocket: read_websocket(root.section("websocket")),
        retry: read_retry(root.section("retry")),
        log: read_log(root.section("log")),
    };
    root.finish();
    config
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read_server(mut section: Section<'_>) -> ServerConfig {
    let listen = section.parsed("listen", |text| {
        let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = address.as_deref().unwrap_or(text);
        address.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080".to_owned())
    });
    let public_url = section.optional_text("public_url").and_then(|(text, source)| {
        let good = reqwest::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !good {
            section.note("public_url", &source, "must be a URL such as https://chat.example.com");
        }
        good.then(|| text.trim_end_matches('/').to_owned())
    });
    let base_path = section.optional_text("base_path").map_or_else(String::new, |(text, source)| {
        let path = text.trim_end_matches('/');
        let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.~".contains(c));
        if !plain || path.contains("//") || !(path.is_empty() || path.starts_with('/')) {
            section.note("base_path", &source, "must be empty or a path such as /thinkwire");
        }
        path.to_owned()
    });
    let proxies_source = section.source("trusted_proxies");
    let mut trusted_proxies = Vec::new();
    for text in section.list("trusted_proxies") {
        match network(&text) {
            Some(network) => trusted_proxies.push(network),
            None => section.note(
                "trusted_proxies",
                &proxies_source,
                format!("must hold addresses or ranges such as 10.0.0.0/8, not {text:?}"),
            ),
        }
    }
    let server = ServerConfig {
        listen: listen.unwrap_or(UNREACHABLE_ADDRESS),
        public_url,
        base_path,
        trusted_proxies,
        shutdown_grace_ms: section.number("shutdown_grace_ms", 0..=MAX_MS),
        workers: bytes(section.number("workers", 0..=1024)),
    };
    section.finish();
    server
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = bits.unwrap_or(most);
    (prefix_bits <= most).then_some(Network { address, prefix_bits })
}

fn read_store(mut section: Section<'_>) -> StoreConfig {
    let url = section.parsed("url", |text| {
        // The value is not repeated: it may hold a password.
        let known = match text.strip_prefix("sqlite://") {
            Some(path) => !path.is_empty(),
            None => url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql")),
        };
        let expected = "must be sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        if known { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
    });
    let tick_ms = section.number("tick_ms", 1..=60_000);
    let max_tick_source = section.source("max_tick_ms");
    let max_tick_ms = section.number("max_tick_ms", 1..=60_000);
    if max_tick_ms < tick_ms {
        section.note("max_tick_ms", &max_tick_source, format!("must not be less than store.tick_ms ({tick_ms})"));
    }
    let store = StoreConfig {
        url: url.unwrap_or_default(),
        max_unstored_bytes: bytes(section.number("max_unstored_bytes", 1_048_576..=MAX_BYTES)),
        tick_ms,
        max_tick_ms,
        max_end_wait_ms: section.number("max_end_wait_ms", 1..=MAX_MS),
        max_away_ms: section.number("max_away_ms", 0..=MAX_MS),
        pool_size: u32::try_from(section.number("pool_size", 1..=1000)).unwrap_or(1),
    };
    section.finish();
    store
}

fn read_cluster(mut section: Section<'_>) -> ClusterConfig {
    let node = section.optional_text("node").and_then(|(text, source)| {
        let good = text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic());
        if !good {
            section.note("node", &source, "must be up to 128 visible ASCII characters without spaces");
        }
        good.then_some(text)
    });
    let cluster = ClusterConfig { node, lease_ms: section.number("lease_ms", 1_000..=MAX_MS) };
    section.finish();
    cluster
}

fn read_limits(mut section: Section<'_>) -> LimitsConfig {
    let max_body_bytes = section.number("max_body_bytes", 1024..=MAX_BYTES);
    let max_history_bytes = section.number("max_history_bytes", 1024..=MAX_BYTES);
    let in_flight_source = section.source("max_body_bytes_in_flight");
    let max_body_bytes_in_flight = section.number("max_body_bytes_in_flight", 1024..=MAX_BYTES);
    if max_body_bytes_in_flight < max_body_bytes.saturating_add(max_history_bytes) {
        let message =
            "must hold one body and one history (limits.max_body_bytes and limits.max_history_bytes together)";
        section.note("max_body_bytes_in_flight", &in_flight_source, message);
    }
    let limits = LimitsConfig {
        max_concurrent_generations: bytes(section.number("max_concurrent_generations", 1..=MAX_COUNT)),
        max_generations_per_conversation: bytes(section.number("max_generations_per_conversation", 1..=MAX_COUNT)),
        max_body_bytes: bytes(max_body_bytes),
        max_body_bytes_in_flight: bytes(max_body_bytes_in_flight),
        body_timeout_ms: section.number("body_timeout_ms", 1..=MAX_MS),
        max_history_bytes: bytes(max_history_bytes),
        max_answer_bytes: bytes(section.number("max_answer_bytes", 4096..=MAX_BYTES)),
        max_readers: bytes(section.number("max_readers", 1..=MAX_COUNT)),
        max_readers_per_conversation: bytes(section.number("max_readers_per_conversation", 1..=MAX_COUNT)),
        max_connections_per_worker: bytes(section.number("max_connections_per_worker", 1..=MAX_COUNT)),
        connection_backlog: u32::try_from(section.number("connection_backlog", 1..=65_535)).unwrap_or(u32::MAX),
        max_line_bytes: bytes(section.number("max_line_bytes", 4096..=MAX_BYTES)),
        max_websockets: bytes(section.number("max_websockets", 1..=MAX_COUNT)),
        max_streams_per_caller: bytes(section.number("max_streams_per_caller", 0..=MAX_COUNT)),
    };
    section.finish();
    limits
}

fn read_stream(mut section: Section<'_>) -> StreamConfig {
    let stream = StreamConfig {
        heartbeat_ms: section.number("heartbeat_ms", 100..=MAX_MS),
        on_disconnect: read_on_disconnect(&mut section),
        head_wait_ms: section.number("head_wait_ms", 0..=MAX_MS),
        connect_timeout_ms: section.number("connect_timeout_ms", 1..=MAX_MS),
        first_byte_timeout_ms: section.number("first_byte_timeout_ms", 1..=MAX_MS),
        silence_timeout_ms: section.number("silence_timeout_ms", 1..=MAX_MS),
        total_timeout_ms: section.number("total_timeout_ms", 1..=MAX_MS),
        progress_join_chars: bytes(section.number("progress_join_chars", 1..=4096)),
        progress_join_ms: section.number("progress_join_ms", 1..=10_000),
    };
    section.finish();
    stream
}

fn read_websocket(mut section: Section<'_>) -> WebSocketConfig {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let websocket = WebSocketConfig {
        ping_ms: section.number("ping_ms", 100..=MAX_MS),
        max_message_bytes: bytes(section.number("max_message_bytes", 1024..=MAX_BYTES)),
        max_messages_per_s: count(section.number("max_messages_per_s", 1..=MAX_COUNT)),
        message_burst: count(section.number("message_burst", 1..=MAX_COUNT)),
        max_subscriptions: bytes(section.number("max_subscriptions", 1..=MAX_COUNT)),
        max_unconfirmed_bytes: bytes(section.number("max_unconfirmed_bytes", 16_384..=MAX_BYTES)),
    };
    section.finish();
    websocket
}

fn read_retry(mut section: Section<'_>) -> RetryConfig {
    let attempts = u32::try_from(section.number("attempts", 1..=10)).unwrap_or(1);
    let base_ms = section.number("base_ms", 1..=MAX_MS);
    let max_source = section.source("max_ms");
    let max_ms = section.number("max_ms", 1..=MAX_MS);
    if max_ms < base_ms {
        section.note("max_ms", &max_source, format!("must not be less than retry.base_ms ({base_ms})"));
    }
    section.finish();
    RetryConfig { attempts, base_ms, max_ms }
}

fn read_on_disconnect(section: &mut Section<'_>) -> OnDisconnect {
    let Some(value) = section.raw("on_disconnect") else { return OnDisconnect::Continue };
    let source = source_of(&value);
    let grace = |value: &Value| match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let meaning = match &value.kind {
        ValueKind::String(word) if word == "continue" => Some(OnDisconnect::Continue),
        ValueKind::String(word) if word == "cancel" => Some(OnDisconnect::Cancel),
        ValueKind::Table(table) if table.len() == 1 => table
            .get("grace_ms")
            .or_else(|| table.get("graceMs"))
            .and_then(grace)
            .filter(|grace_ms| *grace_ms <= MAX_MS)
            .map(|grace_ms| OnDisconnect::Grace { grace_ms }),
        _ => None,
    };
    meaning.unwrap_or_else(|| {
        section.note("on_disconnect", &source, "must be \"continue\", \"cancel\" or { grace_ms = 30000 }");
        OnDisconnect::Continue
    })
}

fn read_log(mut section: Section<'_>) -> LogConfig {
    let level = section.parsed("level", |text| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("must be a filter such as info or thinkwire=debug,info: {error}")),
    });
    let format = section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    section.finish();
    LogConfig { level: level.unwrap_or_default(), format: format.unwrap_or(LogFormat::Text) }
}

fn read_aliases(
    section: Section<'_>,
    providers: &BTreeMap<String, ProviderConfig>,
    mistakes: &Mistakes,
) -> BTreeMap<String, Vec<String>> {
    let mut aliases = BTreeMap::new();
    for (name, targets, source) in section.into_lists() {
        let key = format!("aliases.{name}");
        if targets.is_empty() {
            mistakes.note(&key, &source, "must have the form provider/model, or be a list of such names");
        }
        for target in &targets {
            check_target(&key, target, &source, providers, mistakes);
        }
        aliases.insert(name, targets);
    }
    aliases
}

fn read_agents(
    section: Section<'_>,
    aliases: &BTreeMap<String, Vec<String>>,
    providers: &BTreeMap<String, ProviderConfig>,
    mistakes: &Mistakes,
) -> BTreeMap<String, AgentConfig> {
    let mut agents = BTreeMap::new();
    for (name, mut section) in section.into_sections() {
        let model = section.optional_text("model").map(|(model, source)| {
            if !aliases.contains_key(&model) {
                check_target(&section.name_of("model"), &model, &source, providers, mistakes);
            }
            model
        });
        let system = section.optional_text("system").map(|(text, _)| text.trim().to_owned());
        section.finish();
        agents.insert(name, AgentConfig { model, system });
    }
    agents
}

/// A model that the configuration itself names must lead somewhere.
fn check_target(
    key: &str,
    target: &str,
    source: &str,
    providers: &BTreeMap<String, ProviderConfig>,
    mistakes: &Mistakes,
) {
    match target.split_once('/') {
        Some((provider, model)) if !model.is_empty() => {
            if !providers.contains_key(provider) {
                let known: Vec<&str> = providers.keys().map(String::as_str).collect();
                let message = match super::reader::closest(provider, &known) {
                    Some(close) => format!("names the unknown provider {provider:?}; did you mean {close:?}?"),
                    None => format!("names the unknown provider {provider:?}; known: {}", known.join(", ")),
                };
                mistakes.note(key, source, message);
            }
        }
        _ => mistakes.note(key, source, "must have the form provider/model"),
    }
}

fn read_reasoning(mut section: Section<'_>) -> ReasoningConfig {
    let source = section.source("instruction");
    let reasoning = ReasoningConfig {
        emulate: section.optional_flag("emulate").unwrap_or(false),
        instruction: section.text("instruction").trim().to_owned(),
    };
    // What does not come between the tags cannot be told apart.
    if !["<thinking>", "<answer>"].iter().all(|tag| reasoning.instruction.contains(tag)) {
        section.note("instruction", &source, "must ask for the tags <thinking> and <answer>");
    }
    section.finish();
    reasoning
}

fn read_inline(section: &mut Section<'_>) -> Option<&'static str> {
    let words: Vec<(&str, &'static str)> = INLINE_SYNTAXES.iter().map(|name| (*name, *name)).collect();
    section.choice("inline", &words)
}
/// The words of `least_effort`.
const LEAST_EFFORTS: &[(&str, &str)] =
    &[("minimal", "minimal"), ("low", "low"), ("medium", "medium"), ("high", "high")];

fn read_model_row(row: Value, mistakes: &Mistakes) -> Option<ModelRow> {
    let source = source_of(&row);
    let ValueKind::Table(values) = row.kind else {
        mistakes.note("models", source, "must be [[models]] tables");
        return None;
    };
    let mut section = Section::new("models", values, mistakes);
    let row = ModelRow {
        pattern: section.text("pattern"),
        reasoning: section.optional_flag("reasoning"),
        leave_out: section.list("leave_out"),
        inline: read_inline(&mut section),
        inline_open_missing: section.choice("inline_open", &[("required", false), ("missing", true)]).unwrap_or(false),
        family: section.optional_text("family").map(|(text, _)| text),
        reasoning_request: super::providers::reasoning_style(&mut section),
        reasoning_back: section.optional_text("reasoning_back").map(|(text, _)| text),
        stream: section.optional_flag("stream"),
        usual_max_tokens: section.optional_number("usual_max_tokens", 1..=super::providers::MOST_TOKENS),
        least_effort: section.choice("least_effort", LEAST_EFFORTS),
        least_budget: section.optional_number("least_budget", 1..=super::providers::MOST_TOKENS),
    };
    section.finish();
    (!row.pattern.is_empty()).then_some(row)
}
