//! Node with the client library that people use, in the version that `tests/clients/openai/package-lock.json` names.
//!
//! It is installed when a test needs it first, and stays under `target/clients` for the next run. `npm` fetches it from
//! wherever it is told to by its own configuration and environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::python::{CLIENTS, locked, run};
use super::sha256_hex;

const PACKAGE: &str = include_str!("../../clients/openai/package.json");
const LOCK: &str = include_str!("../../clients/openai/package-lock.json");
/// A module is looked for beside the program, so that the programs are put beside the modules.
const PROGRAMS: &[&str] = &["openai/node_sdk.mjs", "fetch_reader.mjs"];
/// The library asks for 22 and does all that is tested here with 20, which is what stable systems still have.
const PROBE: &str = "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)";

/// The folder with the programs and what they import.
pub struct Node {
    folder: PathBuf,
}

/// The one that all tests share; none where Node or npm is not installed, which is a failure under `CI=true` only.
pub async fn node() -> Option<&'static Node> {
    // What went wrong is kept, too: another test would only wait for the same again.
    static SHARED: OnceCell<Result<Option<Node>, String>> = OnceCell::const_new();
    let made = SHARED.get_or_init(|| async {
        let is_there = run(Command::new("node").args(["-e", PROBE])).await.is_ok()
            && run(Command::new("npm").arg("--version")).await.is_ok();
        match is_there {
            true => Node::make().await.map(Some),
            false => Ok(None),
        }
    });
    let made = made.await.as_ref().unwrap_or_else(|why| panic!("no Node with the client: {why}"));
    if made.is_none() {
        let missing = "Node 20 or newer or npm is missing; install the packages `nodejs` and `npm`, or run scripts/test, \
                       which does";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        println!("skipped: {missing}");
    }
    made.as_ref()
}

impl Node {
    /// A program of `tests/clients`, by its name alone. It is killed when it is dropped.
    pub fn program(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join(script)).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn make() -> Result<Self, String> {
        let parent =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target folder")?.join("clients");
        let folder = parent.join(format!("node-{}", &sha256_hex(&format!("{PACKAGE}{LOCK}"))[..16]));
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        // Two runs of the tests at the same time make one.
        let _lock = locked(folder.with_extension("lock")).await?;
        for name in PROGRAMS {
            let from = Path::new(CLIENTS).join(name);
            let name = from.file_name().ok_or("a program has a name")?;
            fs::copy(&from, folder.join(name)).map_err(failed)?;
        }
        let whole = folder.join("is-whole");
        if !whole.exists() {
            fs::write(folder.join("package.json"), PACKAGE).map_err(failed)?;
            fs::write(folder.join("package-lock.json"), LOCK).map_err(failed)?;
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict=false"]);
            run(npm.current_dir(&folder)).await?;
            fs::write(&whole, "").map_err(failed)?;
        }
        Ok(Node { folder })
    }
}
