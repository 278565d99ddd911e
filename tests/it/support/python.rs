//! A private Python with the client libraries that people use, in the versions that `tests/clients/requirements.txt`
//! names.
//!
//! It is made when a test needs it first, and stays under `target/clients` for the next run. `pip` fetches the packages
//! from wherever it is told to by its own configuration and environment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::sha256_hex;

/// The folder with the programs that run in it.
pub const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const REQUIREMENTS: &str = include_str!("../../clients/requirements.txt");
/// The system's own, newest last: the plain name is what everybody expects, where it is not too old.
const NAMES: &[&str] = &["python3", "python3.11", "python3.12", "python3.13", "python3.14"];
/// Some of the libraries need that much, and some systems have Python without its `venv`.
const PROBE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
/// How long one step may take: the first run downloads some 60 MB.
const SETUP_PATIENCE: Duration = Duration::from_secs(600);

/// The environment.
pub struct Venv {
    python: PathBuf,
}

/// The one that all tests share; none where Python is not installed, which is a failure under `CI=true` only.
pub async fn venv() -> Option<&'static Venv> {
    // What went wrong is kept, too: another test would only wait for the same again.
    static SHARED: OnceCell<Result<Option<Venv>, String>> = OnceCell::const_new();
    let made = SHARED.get_or_init(|| async {
        match system_python().await {
            Some(system) => Venv::make(&system).await.map(Some),
            None => Ok(None),
        }
    });
    let made = made.await.as_ref().unwrap_or_else(|why| panic!("no Python with the clients: {why}"));
    if made.is_none() {
        let missing = "Python 3.11 or newer with its modules venv and ensurepip is missing; install the packages \
                       `python3` and `python3-venv`, or run scripts/test, which does";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        println!("skipped: {missing}");
    }
    made.as_ref()
}

impl Venv {
    /// A program of `tests/clients` with its arguments, by that Python and without the variables that change what Python
    /// finds. It is killed when it is dropped.
    pub fn program(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-E", "-s", "-B"]).arg(Path::new(CLIENTS).join(script));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn make(system: &str) -> Result<Self, String> {
        let parent =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target folder")?.join("clients");
        fs::create_dir_all(&parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        let folder = parent.join(format!("python-{}", &sha256_hex(REQUIREMENTS)[..16]));
        // Two runs of the tests at the same time make one.
        let _lock = locked(folder.with_extension("lock")).await?;
        let venv = Venv { python: folder.join("bin/python") };
        let whole = folder.join("is-whole");
        // It does not outlive the system's Python, on which it stands.
        if whole.exists() && run(Command::new(&venv.python).args(["-c", "import pydantic_core"])).await.is_ok() {
            return Ok(venv);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        run(Command::new(system).args(["-m", "venv"]).arg(&folder)).await?;
        let requirements = Path::new(CLIENTS).join("requirements.txt");
        let mut pip = Command::new(&venv.python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement"]);
        run(pip.arg(requirements)).await?;
        fs::write(&whole, "").map_err(|error| format!("{}: {error}", whole.display()))?;
        Ok(venv)
    }
}

/// The first of the usual names that will do.
async fn system_python() -> Option<String> {
    for name in NAMES {
        if run(Command::new(name).args(["-c", PROBE])).await.is_ok() {
            return Some((*name).to_owned());
        }
    }
    None
}

/// Waits until no other process has this file locked, and locks it until it is closed.
pub(super) async fn locked(path: PathBuf) -> Result<File, String> {
    let lock = move || {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    let locked = tokio::task::spawn_blocking(lock).await.map_err(|error| error.to_string())?;
    locked.map_err(|error: std::io::Error| format!("the lock of target/clients: {error}"))
}

/// Runs a program to its end. An error is what it said.
pub(super) async fn run(command: &mut Command) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let output = match tokio::time::timeout(SETUP_PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|error| format!("{shown}: {error}"))?,
        Err(_) => return Err(format!("{shown}: not done after {SETUP_PATIENCE:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{shown}: {}\n{out}{err}", output.status))
}
