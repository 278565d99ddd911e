//! Recorded provider streams. They are no part of this repository: a folder beside it, or the one that
//! `THINKWIRE_RECORDINGS` names, holds them with a manifest of what each must be read as.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Rng;
use super::steps::{Step, head, split};

/// One recorded response.
pub struct Recording {
    /// Its path inside the folder.
    pub file: String,
    /// The body.
    pub body: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The content type, where one was recorded.
    pub content_type: Option<String>,
    /// What it must be read as.
    pub expected: Value,
    /// What is special about it.
    pub tags: Vec<String>,
}

/// In which pieces a body is served.
#[derive(Clone, Copy, Debug)]
pub enum Pieces {
    /// In one.
    Whole,
    /// Byte by byte.
    Bytes,
    /// In pieces of random sizes.
    Random(u64),
}

impl Recording {
    /// The steps that serve it.
    pub fn steps(&self, pieces: Pieces) -> Vec<Step> {
        const LARGEST_PIECE_BYTES: usize = 96;
        let mut steps = vec![head(self.status, self.content_type.as_deref())];
        match pieces {
            Pieces::Whole => steps.push(Step::Chunk(self.body.clone())),
            Pieces::Bytes => steps.extend(split(&self.body, || 1)),
            Pieces::Random(seed) => {
                let mut rng = Rng::new(seed);
                steps.extend(split(&self.body, || rng.up_to(LARGEST_PIECE_BYTES)));
            }
        }
        steps.push(Step::End);
        steps
    }
}

/// The recordings of one provider API. None where the folder is absent, which is a failure under `CI=true` only.
pub fn recordings(api: &str) -> Option<Vec<Recording>> {
    let folder = folder();
    let Ok(manifest) = fs::read(folder.join("MANIFEST.json")) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no recordings in {}", folder.display());
        println!("skipped: no recordings in {}; THINKWIRE_RECORDINGS names their folder", folder.display());
        return None;
    };
    let manifest: Value = serde_json::from_slice(&manifest).expect("the manifest is JSON");
    let rows = manifest["fixtures"].as_array().expect("the manifest lists fixtures");
    Some(rows.iter().filter(|row| row["expected"]["api"] == api).map(|row| read(&folder, row)).collect())
}

fn folder() -> PathBuf {
    match std::env::var_os("THINKWIRE_RECORDINGS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings"),
    }
}

fn read(folder: &Path, row: &Value) -> Recording {
    let file = row["file"].as_str().expect("a recording has a file");
    let tags = row["tags"].as_array().expect("a recording has tags");
    Recording {
        file: file.to_owned(),
        body: fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")),
        status: row["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
        content_type: row["content_type"].as_str().map(str::to_owned),
        expected: row["expected"].clone(),
        tags: tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}
