//! The style, the script and the icon of the pages. They are in the binary, and a browser keeps them until they change.
//!
//! The address of a file contains a hash of its content, so that a browser never uses an old file with a new page.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, ETAG};
use actix_web::middleware::Compress;
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use super::template_source::source;

/// The prefix of the paths of the files.
const SCOPE: &str = "/static";

macro_rules! joined {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../templates/", $name)))),+] };
}

/// The parts of the style, in their order.
const STYLE: &[(&str, &str)] = joined![
    "style/base.css",
    "style/now.css",
    "style/notice.css",
    "style/settings.css",
    "style/customers.css"
];
/// The style of the status page.
const STATUS: &[(&str, &str)] = joined!["style/status.css"];
/// The parts of the script, in their order.
const SCRIPT: &[(&str, &str)] = joined![
    "script/base.js",
    "script/keys.js",
    "script/now.js",
    "script/notice.js"
];
const ICON: &[(&str, &str)] = joined!["static/icon.svg"];

/// A file as it is served.
struct File {
    name: &'static str,
    media: &'static str,
    parts: &'static [(&'static str, &'static str)],
}

const FILES: [File; 4] = [
    File {
        name: "style.css",
        media: "text/css; charset=utf-8",
        parts: STYLE,
    },
    File {
        name: "script.js",
        media: "text/javascript; charset=utf-8",
        parts: SCRIPT,
    },
    File {
        name: "icon.svg",
        media: "image/svg+xml",
        parts: ICON,
    },
    File {
        name: "status.css",
        media: "text/css; charset=utf-8",
        parts: STATUS,
    },
];

/// Returns the address of a file. It does not change while the process runs. `None` if there is no such file.
pub(super) fn address(name: &str) -> Option<&'static str> {
    static ADDRESSES: LazyLock<[String; 4]> = LazyLock::new(|| {
        FILES.each_ref().map(|file| {
            let hash = hash(&content(file));
            format!("{SCOPE}/{}?v={hash}", file.name)
        })
    });
    let index = FILES.iter().position(|file| file.name == name)?;
    Some(&ADDRESSES[index])
}

fn content(file: &File) -> String {
    file.parts.iter().map(|(name, text)| source(name, text)).collect()
}

fn hash(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the paths of the files.
pub(super) fn paths() -> impl Iterator<Item = String> {
    let names = FILES.iter().map(|file| format!("{SCOPE}/{}", file.name));
    names.chain(["/favicon.ico".to_owned()])
}

/// Serves the files to everybody.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    for file in &FILES {
        let path = format!("{SCOPE}/{}", file.name);
        let route = web::get().to(move || async move { answer(file) });
        config.service(web::resource(path).wrap(Compress::default()).route(route));
    }
    // Browsers ask for this address where a page names no icon, such as the page of a mail.
    config.service(web::resource("/favicon.ico").route(web::get().to(|| async { answer(&FILES[2]) })));
}

/// Returns the files that the status page loads: their paths and their contents.
pub(super) fn of_status_page() -> impl Iterator<Item = (String, String)> {
    let used = FILES
        .iter()
        .filter(|file| matches!(file.name, "status.css" | "icon.svg"));
    used.map(|file| (format!("{SCOPE}/{}", file.name), content(file)))
}

fn answer(file: &File) -> HttpResponse {
    let content = content(file);
    HttpResponse::Ok()
        .content_type(file.media)
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((ETAG, format!("\"{}\"", hash(&content))))
        .body(content)
}
