//! Files of evidence: downloaded, read, changed, and verified by both implementations.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use candor::audit::note::VerifierKey;
use candor::evidence::verify::verify;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::{Env, Http};

/// The parts of a file of evidence by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(pub BTreeMap<String, Vec<u8>>);

/// What both implementations say about a file.
#[derive(Debug)]
pub struct Said {
    pub ours: Result<Vec<String>, String>,
    /// The output of the script, and whether it found everything proven.
    pub script: (bool, String),
}

impl Http {
    /// Downloads the evidence about an incident. `query` is empty or `?person=ID`.
    pub async fn evidence(&self, incident: &str, query: &str) -> Evidence {
        let path = format!("/api/v1/incidents/{incident}/evidence{query}");
        let (headers, bytes) = self.request(Method::GET, &path).download().await;
        let header = |name: &str| headers[name].to_str().expect("a header").to_owned();
        assert_eq!(header("content-type"), "application/zip");
        assert_eq!(header("cache-control"), "no-store");
        let name = header("content-disposition");
        assert!(name.starts_with("attachment; filename=\"evidence-"), "{name}");
        Evidence::read(&bytes)
    }
}

impl Evidence {
    pub fn read(bytes: &[u8]) -> Self {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        let mut parts = BTreeMap::new();
        for index in 0..zip.len() {
            let mut part = zip.by_index(index).expect("a part");
            let name = part.name().expect("a name").into_owned();
            let mut content = Vec::new();
            part.read_to_end(&mut content).expect("its content");
            assert!(parts.insert(name, content).is_none(), "a name twice");
        }
        Evidence(parts)
    }

    /// Returns the file as a zip.
    pub fn zipped(&self) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in &self.0 {
            zip.start_file(name, SimpleFileOptions::default())
                .expect("a part");
            zip.write_all(content).expect("its content");
        }
        zip.finish().expect("a zip").into_inner()
    }

    /// Returns a part as text.
    pub fn text(&self, name: &str) -> &str {
        let content = self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.names()));
        std::str::from_utf8(content).expect("a text")
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Returns the events, each with its fields.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.text("audit/events.ndjson").lines();
        lines
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect()
    }

    /// Replaces a text in a part. It must be there.
    pub fn replace(&mut self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "no {from} in {name}: {text}");
        let changed = text.replacen(from, to, 1);
        self.put(name, changed);
    }

    pub fn put(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(name.to_owned(), content.into());
    }

    /// Replaces the lines of the events.
    pub fn put_events(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.put("audit/events.ndjson", text);
    }

    pub fn event_lines(&self) -> Vec<String> {
        self.text("audit/events.ndjson")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Writes the manifest again, so that it fits to the changed files and events. The event about it stays as it was.
    pub fn adapt_manifest(&mut self) {
        let mut manifest = self.json("manifest.json");
        let after = [
            "manifest.json",
            "audit/checkpoint",
            "audit/key",
            "audit/events.ndjson",
            "audit/proofs.json",
        ];
        let files: Vec<Value> = self
            .0
            .iter()
            .filter(|(name, _)| !after.contains(&name.as_str()))
            .map(|(name, content)| json!({"path": name, "bytes": content.len(), "sha256": hash(content)}))
            .collect();
        manifest["files"] = json!(files);
        let listed: Vec<Value> = manifest["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(|event| event[0].clone())
            .collect();
        let events: Vec<Value> = self
            .event_lines()
            .iter()
            .map(|line| (line, serde_json::from_str::<Value>(line).expect("an event")))
            .filter(|(_, fields)| listed.contains(&fields[0]))
            .map(|(line, fields)| json!([fields[0], hash(line.as_bytes())]))
            .collect();
        manifest["events"] = json!(events);
        self.put(
            "manifest.json",
            serde_json::to_vec_pretty(&manifest).expect("JSON"),
        );
    }

    /// Writes the file to the directory of the test.
    pub fn stored(&self, env: &Env, name: &str) -> PathBuf {
        stored(env, name, &self.zipped())
    }

    /// Lets both implementations verify the file.
    pub fn verified(&self, env: &Env, key: Option<&VerifierKey>) -> Said {
        said(&self.stored(env, "evidence.zip"), key)
    }
}

impl Said {
    /// Both found everything proven.
    #[track_caller]
    pub fn expect_proven(self) -> Vec<String> {
        let proven = self
            .ours
            .unwrap_or_else(|fault| panic!("not proven: {fault}\nthe script: {}", self.script.1));
        assert!(self.script.0, "the script: {}\nours: {proven:#?}", self.script.1);
        proven
    }

    /// Both found a fault that contains this text.
    #[track_caller]
    pub fn expect_fault(self, what: &str, fault: &str) {
        let ours = self.ours.expect_err(what);
        assert!(ours.contains(fault), "{what}: {ours}");
        assert!(
            !self.script.0,
            "{what}: the script found nothing: {}",
            self.script.1
        );
        assert!(
            self.script.1.contains(fault),
            "{what}: the script: {}",
            self.script.1
        );
    }
}

pub fn stored(env: &Env, name: &str, bytes: &[u8]) -> PathBuf {
    let path = env.directory.join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// Lets both implementations verify a file.
pub fn said(path: &Path, key: Option<&VerifierKey>) -> Said {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_evidence.py");
    let mut command = Command::new("python3");
    command.arg("-I").arg(script).arg(path);
    if let Some(key) = key {
        command.arg("--key").arg(key.to_string());
    }
    let output = command
        .output()
        .expect("python3, which the second implementation needs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Said {
        ours: verify(path, key),
        script: (output.status.success(), text),
    }
}

pub fn hash(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
