//! The feeds of incidents: Atom (RFC 4287) and RSS 2.0. An incident is one entry, which changes with each post.

use super::site::Site;
use crate::base::error::Result;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::status::{PublicIncident, StatusPage};

/// The largest number of incidents in a feed.
const ENTRIES: usize = 50;

/// Escapes a text for XML, and leaves out what XML cannot contain.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

/// Escapes a text for HTML. Line breaks stay.
fn html(text: &str) -> String {
    xml(text).replace('\n', "<br>")
}

/// The incidents, the last changed first.
fn entries(page: &StatusPage) -> Vec<&PublicIncident> {
    let mut all: Vec<&PublicIncident> = page.incidents.iter().collect();
    all.sort_by_key(|one| std::cmp::Reverse((one.updated_at(), one.number)));
    all.truncate(ENTRIES);
    all
}

/// The posts of an incident as HTML, newest first.
fn content(one: &PublicIncident) -> String {
    let posts = one.posts.iter().rev().map(|post| {
        let word = post.status.as_str();
        let status = format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        format!(
            "<p><small>{}</small><br><strong>{status}</strong> - {}</p>",
            post.at.for_people(None),
            html(&post.message)
        )
    });
    posts.collect()
}

fn name(site: &Site) -> String {
    format!("{}: incidents", site.company)
}

/// When the feed was last changed. A feed always has such a time, so an empty one has the beginning of the time.
fn changed(entries: &[&PublicIncident]) -> Timestamp {
    let newest = entries.iter().map(|one| one.updated_at()).max();
    newest.unwrap_or(Timestamp::from_micros(0))
}

/// Returns the feed as Atom.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn atom(page: &StatusPage, site: &Site) -> Result<String> {
    let entries = entries(page);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en\">\n\
         <id>{}</id>\n<title>{}</title>\n<updated>{}</updated>\n<author><name>{}</name></author>\n\
         <link rel=\"self\" type=\"application/atom+xml\" href=\"{}/history.atom\"/>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{}\"/>\n",
        xml(&site.tag("status")),
        xml(&name(site)),
        changed(&entries),
        xml(&site.company),
        xml(&site.public_url),
        xml(&site.home()),
    );
    for one in entries {
        out.push_str(&format!(
            "<entry>\n<id>{}</id>\n<title>{}</title>\n<published>{}</published>\n<updated>{}</updated>\n\
             <link rel=\"alternate\" type=\"text/html\" href=\"{}\"/>\n<content type=\"html\">{}</content>\n</entry>\n",
            xml(&site.tag(&format!("incident/{}", one.id))),
            xml(&page.title(one, Language::En)?),
            one.began_at(),
            one.updated_at(),
            xml(&site.incident(one.number)),
            xml(&content(one)),
        ));
    }
    out.push_str("</feed>\n");
    Ok(out)
}

/// Returns the time as RFC 822 has it.
fn rfc822(at: Timestamp) -> String {
    let (seconds, _) = at.unix();
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// Returns the feed as RSS.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn rss(page: &StatusPage, site: &Site) -> Result<String> {
    let entries = entries(page);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<rss version=\"2.0\" xmlns:atom=\"http://www.w3.org/2005/Atom\">\n<channel>\n\
         <title>{}</title>\n<link>{}</link>\n<description>{}</description>\n<language>en</language>\n<lastBuildDate>{}</lastBuildDate>\n\
         <atom:link rel=\"self\" type=\"application/rss+xml\" href=\"{}/history.rss\"/>\n",
        xml(&name(site)),
        xml(&site.home()),
        xml(&format!("The incidents of {}", site.company)),
        rfc822(changed(&entries)),
        xml(&site.public_url),
    );
    for one in entries {
        out.push_str(&format!(
            "<item>\n<title>{}</title>\n<link>{}</link>\n<guid isPermaLink=\"false\">{}</guid>\n<pubDate>{}</pubDate>\n\
             <description>{}</description>\n</item>\n",
            xml(&page.title(one, Language::En)?),
            xml(&site.incident(one.number)),
            xml(&site.tag(&format!("incident/{}", one.id))),
            rfc822(one.began_at()),
            xml(&content(one)),
        ));
    }
    out.push_str("</channel>\n</rss>\n");
    Ok(out)
}
