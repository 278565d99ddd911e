//! The real binary as a child process, with a folder, a database and a port of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::http::{Request, Response, fetch};
use super::postgres::{Database, Postgres};
use super::sse::Reader;
use super::upstream::Upstream;
use super::{PATIENCE, within};

/// How a gateway is to be set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    toml: String,
    env: Vec<(String, String)>,
    store: Store,
    base_path: String,
}

/// Where a gateway stores.
#[derive(Clone, Debug, Default)]
enum Store {
    /// In the database that `THINKWIRE_TEST_STORE` says, empty and of its own.
    #[default]
    AsAsked,
    /// In a file in its folder.
    Sqlite,
    /// There.
    Url(String),
}

impl Setup {
    /// Nothing but what every test has.
    pub fn new() -> Self {
        Self::default()
    }

    /// More configuration, in the file that `THINKWIRE_CONFIG` names.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    /// A variable of the gateway's environment, which is empty otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Stores in an SQLite file of its own, whatever database the tests run with: for what is about that file.
    #[must_use]
    pub fn sqlite(mut self) -> Self {
        self.store = Store::Sqlite;
        self
    }

    /// Stores at `url`, which may hold something already and be in use by others.
    #[must_use]
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Store::Url(url.into());
        self
    }

    /// All routes below this path.
    #[must_use]
    pub fn base_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.base_path);
        self.env("THINKWIRE__SERVER__BASE_PATH", path)
    }

    /// A provider of that name at `base_url`, without a key.
    #[must_use]
    pub fn provider(self, name: &str, base_url: &str) -> Self {
        self.provider_of(name, "openai_chat", base_url)
    }

    /// The same with another protocol.
    #[must_use]
    pub fn provider_of(self, name: &str, protocol: &str, base_url: &str) -> Self {
        self.toml(&format!("[providers.{name}]\nprotocol = \"{protocol}\"\nbase_url = \"{base_url}\""))
    }
}

/// A running gateway. It is killed when it is dropped; when its test fails, its log is printed.
pub struct Gateway {
    dir: TempDir,
    setup: Setup,
    child: Child,
    address: SocketAddr,
    // Goes after the process.
    _database: Option<Database>,
}

impl Gateway {
    /// Starts one with a provider `up` at `upstream`.
    pub async fn start(upstream: &Upstream) -> Self {
        Self::with(upstream, Setup::new()).await
    }

    /// The same with more configuration.
    pub async fn with(upstream: &Upstream, setup: Setup) -> Self {
        Self::launch(setup.provider("up", &upstream.base_url())).await
    }

    /// Starts one with this configuration only.
    pub async fn launch(mut setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database = match setup.store {
            Store::AsAsked => database().await,
            Store::Sqlite | Store::Url(_) => None,
        };
        if let Some(database) = &database {
            setup = setup.store(database.url());
        }
        let (child, address) = spawn(dir.path(), &setup).await;
        Gateway { dir, setup, child, address, _database: database }
    }

    /// Starts one that must give up before it is ready. Gives how it ended, and its log.
    pub async fn refused(setup: &Setup) -> (ExitStatus, String) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (mut child, _) = serve(dir.path(), setup);
        let status = within("the gateway gives up", child.wait()).await.expect("the child can be waited for");
        (status, read_log(dir.path()))
    }

    /// Starts one with this configuration only, on a folder that `prepare` has filled, and does not wait until it is
    /// ready: only until it listens.
    pub async fn launch_early(setup: Setup, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        prepare(dir.path());
        let (child, address) = spawn_until(dir.path(), &setup, false).await;
        Gateway { dir, setup, child, address, _database: None }
    }

    /// The database file of one with [`Setup::sqlite`].
    pub fn database_file(&self) -> PathBuf {
        database_file(self.dir.path())
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it stores, for others that shall store there too.
    pub fn store_url(&self) -> String {
        store_url(self.dir.path(), &self.setup)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        read_log(self.dir.path())
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the child can be killed");
    }

    /// `kill -9`, then a new process on the same store.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// The same as [`Gateway::restart`], but waits only until the new process listens.
    pub async fn restart_early(&mut self) {
        let ended = self.child.try_wait().expect("the child can be asked");
        assert!(ended.is_some(), "the old process still runs");
        (self.child, self.address) = spawn_until(self.dir.path(), &self.setup, false).await;
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        within("the gateway is ready", async {
            while !is_ready(self.address, &self.setup.base_path).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Waits until the database has everything that was said so far.
    pub async fn stored(&self) {
        within("all is stored", async {
            while self.get("/readyz").await.json()["unstoredBytes"] != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Waits until nothing runs here, and all of what did is stored.
    pub async fn idle(&self) {
        within("nothing runs", async {
            while self.get("/readyz").await.json()["running"] != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        self.stored().await;
    }

    /// A new process on the same store, after the old one has ended.
    pub async fn restart(&mut self) {
        let ended = self.child.try_wait().expect("the child can be asked");
        assert!(ended.is_some(), "the old process still runs");
        (self.child, self.address) = spawn(self.dir.path(), &self.setup).await;
    }

    /// The same, but does not wait until it is ready: for a test that kills it before.
    pub fn begin_restart(&mut self) {
        let ended = self.child.try_wait().expect("the child can be asked");
        assert!(ended.is_some(), "the old process still runs");
        (self.child, _) = serve(self.dir.path(), &self.setup);
    }

    /// The same with more configuration, or with another environment.
    pub async fn restart_with(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.restart().await;
    }

    /// Stops the process in the middle of whatever it does, as a machine does that is overloaded or asleep. Its sockets
    /// and locks stay.
    pub async fn pause(&self) {
        self.signal("STOP").await;
        // The signal reaches one thread after the other.
        within("all threads stop", async {
            while !self.is_stopped() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    fn is_stopped(&self) -> bool {
        let pid = self.child.id().expect("the child still runs");
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a Linux system");
        // A thread that has ended meanwhile has no status.
        let statuses = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
        statuses.into_iter().all(|status| status.contains("\nState:\tT"))
    }

    /// Undoes [`Gateway::pause`].
    pub async fn resume_process(&self) {
        self.signal("CONT").await;
    }

    /// Sends a signal (`TERM`, `INT`).
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the child still runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await.expect("`kill` can be run");
        assert!(sent.success(), "the signal was not sent");
    }

    /// Waits for the process to end by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        within("the gateway ends", self.child.wait()).await.expect("the child can be waited for")
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let pid = self.child.id().expect("the child still runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a Linux system");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }

    /// Sends any request.
    pub async fn send(&self, request: &Request) -> Response {
        fetch(self.address, request).await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path)).await
    }

    /// `POST path` with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(&Request::post(path, body)).await
    }

    /// Opens any stream of events.
    pub async fn open(&self, request: &Request) -> Reader {
        Reader::open(self.address, request).await
    }

    /// Starts a generation as a stream: `model` is a model of the provider `up`.
    pub async fn stream(&self, model: &str) -> Reader {
        self.generate(&json!({"model": format!("up/{model}"), "prompt": "Go on."})).await
    }

    /// `POST /api/generate` as a stream.
    pub async fn generate(&self, body: &Value) -> Reader {
        self.open(&stream_request(body)).await
    }

    /// `POST /api/generate` as one document, which must succeed.
    pub async fn generate_json(&self, body: &Value) -> Value {
        let mut body = body.clone();
        body["stream"] = Value::Bool(false);
        self.post("/api/generate", &body).await.expect(200).json()
    }

    /// The stored messages of a conversation, oldest first.
    pub async fn messages(&self, conversation: &str) -> Vec<Value> {
        let listed = self.get(&format!("/api/conversations/{conversation}/messages")).await.expect(200).json();
        list(&listed, "messages")
    }

    /// The stored message of a model with that id.
    pub async fn message(&self, conversation: &str, message: &str) -> Value {
        let messages = self.messages(conversation).await;
        let found = messages.iter().find(|stored| stored["id"] == message);
        found.unwrap_or_else(|| panic!("no message {message} in {messages:#?}")).clone()
    }

    /// What `GET /api/generations/{id}` says about its status.
    pub async fn generation_status(&self, generation: &str) -> String {
        let state = self.get(&format!("/api/generations/{generation}")).await.expect(200).json();
        state["status"].as_str().unwrap_or_else(|| panic!("no status: {state}")).to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}--- end of the log ---", self.log());
        }
    }
}

/// `POST /api/generate` with `stream: true`.
pub fn stream_request(body: &Value) -> Request {
    let mut body = body.clone();
    body["stream"] = Value::Bool(true);
    Request::post("/api/generate", &body)
}

/// The rows of a list, bare or in an object under `name` or `data`.
pub fn list(document: &Value, name: &str) -> Vec<Value> {
    let rows = [document, &document[name], &document["data"]].into_iter().find_map(Value::as_array);
    rows.unwrap_or_else(|| panic!("no list of {name}: {document}")).clone()
}

/// The command line of the binary in `dir`, with an empty environment but for what a test needs. Without a store in
/// `setup` it is SQLite, for the command line is the same for all databases.
pub fn command(dir: &Path, setup: &Setup) -> Command {
    let config = dir.join("extra.toml");
    fs::write(&config, &setup.toml).expect("a configuration file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_thinkwire"));
    command.current_dir(dir).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("THINKWIRE_ENV", "test");
    command.env("THINKWIRE_CONFIG", config);
    command.env("THINKWIRE__SERVER__LISTEN", "127.0.0.1:0");
    command.env("THINKWIRE__STORE__URL", store_url(dir, setup));
    command.envs(setup.env.iter().map(|(name, value)| (name, value)));
    command
}

/// What `store.url` is in `dir`, where nothing else was asked for.
fn store_url(dir: &Path, setup: &Setup) -> String {
    match &setup.store {
        Store::Url(url) => url.clone(),
        Store::AsAsked | Store::Sqlite => format!("sqlite://{}", database_file(dir).display()),
    }
}

/// An empty database, where `THINKWIRE_TEST_STORE` does not leave it at SQLite.
async fn database() -> Option<Database> {
    match std::env::var("THINKWIRE_TEST_STORE").as_deref() {
        Err(_) | Ok("" | "sqlite") => None,
        Ok("postgres") => {
            let server = Postgres::shared().await.expect("THINKWIRE_TEST_STORE=postgres, and PostgreSQL is missing");
            Some(server.database().await)
        }
        Ok(other) => panic!("THINKWIRE_TEST_STORE={other}: it is sqlite or postgres"),
    }
}

/// Starts the process. Gives the file, too, that will tell its port.
fn serve(dir: &Path, setup: &Setup) -> (Child, PathBuf) {
    let port_file = dir.join("port");
    // A port file of an earlier process would name the wrong port.
    let _ = fs::remove_file(&port_file);
    let log = File::options().create(true).append(true).open(log_path(dir)).expect("a log file");
    let mut command = command(dir, setup);
    command.arg("serve").arg("--port-file").arg(&port_file);
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    (command.spawn().expect("the binary starts"), port_file)
}

async fn spawn(dir: &Path, setup: &Setup) -> (Child, SocketAddr) {
    spawn_until(dir, setup, true).await
}

async fn spawn_until(dir: &Path, setup: &Setup, ready: bool) -> (Child, SocketAddr) {
    let (mut child, port_file) = serve(dir, setup);
    let started = Instant::now();
    loop {
        let ended = child.try_wait().expect("the child can be asked");
        if let Some(status) = ended {
            panic!("the gateway ended while it started: {status}\n{}", read_log(dir));
        }
        if let Some(address) = listening(&port_file)
            && (!ready || is_ready(address, &setup.base_path).await)
        {
            return (child, address);
        }
        assert!(started.elapsed() < PATIENCE, "the gateway is not ready\n{}", read_log(dir));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn listening(port_file: &Path) -> Option<SocketAddr> {
    let port: u16 = fs::read_to_string(port_file).ok()?.trim().parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn is_ready(address: SocketAddr, base_path: &str) -> bool {
    match Request::get(format!("{base_path}/readyz")).send(address).await {
        Ok(exchange) => exchange.status == 200,
        Err(_) => false,
    }
}

fn database_file(dir: &Path) -> PathBuf {
    dir.join("thinkwire.db")
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("gateway.log")
}

fn read_log(dir: &Path) -> String {
    fs::read(log_path(dir)).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}
