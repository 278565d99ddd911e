//! The configuration: typed, validated, and read so that every mistake is reported at once, each with its key and the
//! place that it comes from. Imports nothing of ours.
//!
//! `config/*.toml` is built into the binary, so that it runs from any folder. What beats what is said in `layers`.

mod aws;
mod layers;
mod providers;
mod reader;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use aws::{AwsConfig, AwsCredentials};
pub use providers::{ProviderConfig, ReasoningStyle};

/// Environment variables by name. Handed in, so that tests never change the process's own.
pub type Variables = BTreeMap<String, String>;

/// Everything that an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which environment's file was read: `development`, `production` or `test`.
    pub environment: String,
    /// Listening, stopping, proxies in front.
    pub server: ServerConfig,
    /// The database and what is held back before it.
    pub store: StoreConfig,
    /// Processes that share a database.
    pub cluster: ClusterConfig,
    /// What a request gets that does not say.
    pub default: DefaultConfig,
    /// Names of the operator's own for `provider/model`, or for several in the order in which they are tried; never none.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// Agents by their names.
    pub agents: BTreeMap<String, AgentConfig>,
    /// Providers by their names in front of the slash.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// What is known about models, most specific first: the first row whose pattern matches counts.
    pub models: Vec<ModelRow>,
    /// Reasoning from models that have none of their own.
    pub reasoning: ReasoningConfig,
    /// Bounds that keep one caller from hurting the others.
    pub limits: LimitsConfig,
    /// Heartbeats, disconnects and deadlines of streams.
    pub stream: StreamConfig,
    /// WebSockets of clients.
    pub websocket: WebSocketConfig,
    /// How often a model is asked that fails before it has said anything.
    pub retry: RetryConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The URL under which clients reach the server, without a trailing slash.
    pub public_url: Option<String>,
    /// A path in front of all routes: empty, or `/` and a name, without a trailing slash.
    pub base_path: String,
    /// Peers whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// How long running streams may go on after a stop was asked for, in milliseconds.
    pub shutdown_grace_ms: u64,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
}

/// `[store]`.
#[derive(Clone)]
pub struct StoreConfig {
    /// `sqlite://path` or `postgres://…`. A URL may hold a password: `Debug` hides it.
    pub url: String,
    /// How many bytes of events may wait for the database before generations stop reading upstream.
    pub max_unstored_bytes: usize,
    /// How often waiting events are written, in milliseconds.
    pub tick_ms: u64,
    /// How far the tick may stretch under load, in milliseconds.
    pub max_tick_ms: u64,
    /// How long a `complete` waits for its message to be stored, in milliseconds.
    pub max_end_wait_ms: u64,
    /// How long the database may be away before `/readyz` turns red, in milliseconds.
    pub max_away_ms: u64,
    /// Connections to the database.
    pub pool_size: u32,
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &self.shown_url())
            .field("max_unstored_bytes", &self.max_unstored_bytes)
            .field("tick_ms", &self.tick_ms)
            .field("max_tick_ms", &self.max_tick_ms)
            .field("max_end_wait_ms", &self.max_end_wait_ms)
            .field("max_away_ms", &self.max_away_ms)
            .field("pool_size", &self.pool_size)
            .finish()
    }
}

impl StoreConfig {
    /// The URL as it may be logged: without user, password and parameters.
    pub fn shown_url(&self) -> String {
        let without_parameters = self.url.split(['?', '#']).next().unwrap_or_default();
        match without_parameters.split_once("://") {
            Some((scheme, rest)) => {
                // The last `@` ends the password, which may itself hold one.
                let place = rest.rsplit_once('@').map_or(rest, |(_secret, place)| place);
                format!("{scheme}://{place}")
            }
            None => "(no URL)".to_owned(),
        }
    }
}

/// `[cluster]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// The name of this process among those that share a database; `None` means the name of the machine.
    pub node: Option<String>,
    /// For how long the others leave alone what this process has open after it was last heard of, in milliseconds.
    pub lease_ms: u64,
}

/// `[default]`.
#[derive(Clone, Debug)]
pub struct DefaultConfig {
    /// The model of a request that names none: an alias or `provider/model`.
    pub model: String,
}

/// One `[[models]]` row: what is known about models whose name matches, behind any provider.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModelRow {
    /// Compared with the provider's name for the model without regard to case; `*` stands for any text.
    pub pattern: String,
    /// Whether it reasons; `None` leaves the question open.
    pub reasoning: Option<bool>,
    /// Fields of a request that it rejects, in the provider's spelling.
    pub leave_out: Vec<String>,
    /// One of [`INLINE_SYNTAXES`]: between which tags it writes reasoning into its answer. `None` leaves it to the
    /// default.
    pub inline: Option<&'static str>,
    /// Whether its template writes the first of these tags, so that its answers begin inside the reasoning.
    pub inline_open_missing: bool,
    /// Models of one family read each other's opaque reasoning; a model without one is a family of its own.
    pub family: Option<String>,
    /// How it is asked to think, where its provider's row does not say.
    pub reasoning_request: Option<ReasoningStyle>,
    /// The field in which its plain thinking goes back to it while it calls tools.
    pub reasoning_back: Option<String>,
    /// Whether it can stream; `None` leaves that to the provider's row.
    pub stream: Option<bool>,
    /// The limit of tokens where a request names none and the protocol demands one.
    pub usual_max_tokens: Option<u64>,
    /// The least effort that it can be told to think with; `None` where it takes all of them.
    pub least_effort: Option<&'static str>,
    /// The least number of tokens that it can be told to think for; `None` where it can be told not to.
    pub least_budget: Option<u64>,
}

/// The names of the ways in which reasoning can stand in an answer. `protocol::think::Syntax` says what each means.
pub const INLINE_SYNTAXES: &[&str] = &[
    "none", "auto", "think", "qwen", "kimi_k2", "thinking", "kimi", "mistral", "harmony", "cohere", "gemma", "apertus",
    "granite", "hunyuan", "seed",
];

impl ModelRow {
    /// Whether the row speaks about `model` (the name without the provider in front). Relays put a vendor before the
    /// name, so that what follows the last slash counts as well.
    pub fn matches(&self, model: &str) -> bool {
        let (pattern, model) = (self.pattern.to_ascii_lowercase(), model.to_ascii_lowercase());
        let bare = model.rsplit('/').next().unwrap_or(&model);
        glob(pattern.as_bytes(), model.as_bytes()) || glob(pattern.as_bytes(), bare.as_bytes())
    }

    /// The same for the model of one provider: a pattern may also name both, as `provider/model`.
    pub fn matches_at(&self, provider: &str, model: &str) -> bool {
        let whole = format!("{provider}/{model}").to_ascii_lowercase();
        self.matches(model) || glob(self.pattern.to_ascii_lowercase().as_bytes(), whole.as_bytes())
    }
}

/// Matches in linear memory and without recursion: on a mismatch the last `*` takes one byte more.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == text.get(t) {
            p += 1;
            t += 1;
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            p = star_at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// `[reasoning]`.
#[derive(Clone, Debug)]
pub struct ReasoningConfig {
    /// Whether models that are known not to reason are told to, where a request wants reasoning.
    pub emulate: bool,
    /// What they are told: to think between `<thinking>` tags and to answer between `<answer>` tags.
    pub instruction: String,
}

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Generations that run at the same time in this process.
    pub max_concurrent_generations: usize,
    /// Generations that run at the same time in one conversation.
    pub max_generations_per_conversation: usize,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Bodies that are being read and requests that are not stored yet, all together, in bytes.
    pub max_body_bytes_in_flight: usize,
    /// How long the body of a request may take to come, in milliseconds.
    pub body_timeout_ms: u64,
    /// The largest conversation that a request may go on with, in bytes.
    pub max_history_bytes: usize,
    /// The largest message that a provider may send, in bytes.
    pub max_answer_bytes: usize,
    /// Responses that stream events at the same time in this process.
    pub max_readers: usize,
    /// Responses that stream events of one conversation at the same time.
    pub max_readers_per_conversation: usize,
    /// Open connections of clients a worker thread; more wait to be accepted.
    pub max_connections_per_worker: usize,
    /// How many connections may wait to be accepted.
    pub connection_backlog: u32,
    /// The longest line that a provider may send, in bytes.
    pub max_line_bytes: usize,
    /// WebSockets that are open at the same time in this process.
    pub max_websockets: usize,
    /// Streams and WebSockets of one caller's address that are open at the same time; 0 means any number.
    pub max_streams_per_caller: usize,
}

/// `[websocket]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketConfig {
    /// How often a peer is pinged, in milliseconds; one that has missed two pings is closed.
    pub ping_ms: u64,
    /// The largest message of a client, in bytes.
    pub max_message_bytes: usize,
    /// Messages a second that one client may send, over a while.
    pub max_messages_per_s: u32,
    /// How many it may send at once before that counts.
    pub message_burst: u32,
    /// Subscriptions of one socket.
    pub max_subscriptions: usize,
    /// How much may be on its way to a client that has not said that it got what came before, in bytes.
    pub max_unconfirmed_bytes: usize,
}

/// `[stream]`.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// How often a quiet stream sends a comment line, in milliseconds.
    pub heartbeat_ms: u64,
    /// What happens to a generation whose last reader left, unless the request says so itself.
    pub on_disconnect: OnDisconnect,
    /// How long the head of a response waits for the provider's answer, in milliseconds.
    pub head_wait_ms: u64,
    /// How long connecting to a provider may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a provider may take until its first byte, in milliseconds. Models that think silently need minutes.
    pub first_byte_timeout_ms: u64,
    /// How long a provider may fall silent after its first byte, in milliseconds.
    pub silence_timeout_ms: u64,
    /// How long one generation may take in all, in milliseconds.
    pub total_timeout_ms: u64,
    /// How many characters of progress events are joined at the least, unless they take too long.
    pub progress_join_chars: usize,
    /// For how long they are joined at the most, in milliseconds.
    pub progress_join_ms: u64,
}

/// One `[agents.NAME]` table: whom a session of agent steps can talk to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AgentConfig {
    /// An alias or `provider/model`; `None` means the default model.
    pub model: Option<String>,
    /// What it is told before every conversation.
    pub system: Option<String>,
}

/// `[retry]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryConfig {
    /// How often one model is asked for one message, the first time included.
    pub attempts: u32,
    /// About how long is waited before the second attempt, in milliseconds; before each further one twice as long.
    pub base_ms: u64,
    /// The longest wait, in milliseconds, also where the provider asks for a longer one.
    pub max_ms: u64,
}

/// What happens to a generation whose last reader left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisconnect {
    /// It goes on to its end and is stored.
    Continue,
    /// It is cancelled at once; what was received is kept.
    Cancel,
    /// It is cancelled unless a reader comes back within `grace_ms` milliseconds.
    Grace {
        /// Milliseconds from the last reader's leaving.
        grace_ms: u64,
    },
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A tracing filter: `info`, or `thinkwire=debug,info`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A range of IP addresses, or a single one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// Any address of the range.
    pub address: IpAddr,
    /// How many leading bits all its addresses share.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether `peer` is one of its addresses. An IPv4 address in IPv6 clothes counts as itself.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address.to_canonical(), peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits.min(32))).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits.min(128))).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// What the command line says; it beats everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`: an extra file, in place of `THINKWIRE_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--env`: in place of `THINKWIRE_ENV`.
    pub env: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--store`.
    pub store_url: Option<String>,
    /// `--workers`.
    pub workers: Option<usize>,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The key, `section.key`; empty where a whole file is meant.
    pub key: String,
    /// Where the value comes from: a file, a variable, a flag.
    pub source: String,
    /// What is wrong and what would be right. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{} (from {})", self.message, self.source)
    }
}

/// Every mistake in the configuration; never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// In the order in which the sections are read.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => f.write_str("the configuration has a mistake:")?,
            count => write!(f, "the configuration has {count} mistakes:")?,
        }
        for mistake in &self.mistakes {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the configuration with the environment variables of this process. `protocols` are the names that a
    /// provider's `protocol` may have.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn load(overrides: &Overrides, protocols: &[&str]) -> Result<Config, ConfigErrors> {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load_from(overrides, &variables.collect(), protocols)
    }

    /// Reads the configuration with the given environment variables.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn load_from(overrides: &Overrides, variables: &Variables, protocols: &[&str]) -> Result<Config, ConfigErrors> {
        let mistakes = reader::Mistakes::default();
        let layered = layers::gather(overrides, variables, &mistakes);
        let config = sections::read(layered, variables, protocols, &mistakes);
        match mistakes.into_vec() {
            found if found.is_empty() => Ok(config),
            mistakes => Err(ConfigErrors { mistakes }),
        }
    }
}
