//! What the commands write beside the log: as text, or each line as a JSON object of the same form as a log line, where the
//! settings ask for such logs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use candor::base::time::Clock;
use candor::config::LogFormat;
use serde_json::json;

static JSON: AtomicBool = AtomicBool::new(false);

/// How lines are written from now on. With JSON, a panic is written as a line of the log too.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::SeqCst);
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| fail(&panic.to_string())));
    }
}

/// Writes what the program does, to standard output.
///
/// # Errors
/// If standard output cannot be written.
pub fn say(text: &str) -> Result<(), String> {
    answer(&line("INFO", text))
}

/// Writes something that a program may read, to standard output: it is the same in each format.
///
/// # Errors
/// If standard output cannot be written.
pub fn answer(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .map_err(|error| format!("standard output: {error}"))
}

/// Writes an explanation for people, to standard error.
pub fn note(text: &str) {
    error_line(&line("INFO", text));
}

/// Writes why the program ends, to standard error.
pub fn fail(reason: &str) {
    let text = if JSON.load(Ordering::SeqCst) {
        reason.to_owned()
    } else {
        format!("candor: {reason}")
    };
    error_line(&line("ERROR", &text));
}

fn line(level: &str, text: &str) -> String {
    if !JSON.load(Ordering::SeqCst) {
        return text.to_owned();
    }
    let at = Clock::system().now().to_string();
    json!({"timestamp": at, "level": level, "fields": {"message": text}, "target": "candor"}).to_string()
}

fn error_line(text: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
