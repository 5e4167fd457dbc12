//! The output of the commands, apart from the log. It is text. If the settings ask for JSON logs, each line
//! is a JSON object in the same form as a log line.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use candor::base::time::Clock;
use candor::config::LogFormat;
use serde_json::json;

static JSON: AtomicBool = AtomicBool::new(false);

/// Sets the format of all later lines. With JSON, a panic is also written as a log line.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::SeqCst);
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| fail(&panic.to_string())));
    }
}

/// Writes to the standard output what the program does.
///
/// # Errors
/// A sentence, if the standard output cannot be written.
pub fn say(text: &str) -> Result<(), String> {
    answer(&line("INFO", text))
}

/// Writes text for other programs to the standard output. It is the same in both formats.
///
/// # Errors
/// A sentence, if the standard output cannot be written.
pub fn answer(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .map_err(|error| format!("standard output: {error}"))
}

/// Writes an explanation for people to the standard error.
pub fn note(text: &str) {
    error_line(&line("INFO", text));
}

/// Writes to the standard error why the program ends.
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
    // If the standard error is closed, there is no other place to write to.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
