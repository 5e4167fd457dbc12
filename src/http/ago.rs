//! Times as the admin pages show them: how long ago, with the exact time in the zone of the reader and in UTC on hover and in
//! print.

use handlebars::{
    Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderErrorReason, html_escape,
};
use jiff::tz::TimeZone;

use crate::base::time::{Timestamp, time_zone};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// From this age on, a time is shown as a date.
const DATE_FROM: i64 = 7 * DAY;

/// The helper `time`: the time of a `When`, seen from a second time, in a time zone.
pub(super) fn helper(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let text = |index: usize| helper.param(index).map(handlebars::PathAndJson::value);
    let at = text(0).and_then(|when| when["iso"].as_str());
    let now = text(1).and_then(|now| now.as_str());
    let parsed = at
        .zip(now)
        .and_then(|(at, now)| Some((Timestamp::parse(at).ok()?, Timestamp::parse(now).ok()?)));
    let Some((at, now)) = parsed else {
        return Err(RenderErrorReason::ParamNotFoundForIndex("time", 0).into());
    };
    let reader = text(2).and_then(|name| time_zone(name.as_str()?).ok());
    out.write(&written(at, now, reader.as_ref()))?;
    Ok(())
}

/// Returns the element for a time.
fn written(at: Timestamp, now: Timestamp, reader: Option<&TimeZone>) -> String {
    let exact = exact(at, reader);
    let (shown, live) = match ago(at, now) {
        Some(text) => (text, " data-ago"),
        None => (at.short(reader.unwrap_or(&TimeZone::UTC)), ""),
    };
    format!(
        "<time datetime=\"{at}\" title=\"{title}\"{live}>{shown}</time>{print}",
        title = html_escape(&exact),
        print = match live {
            "" => String::new(),
            // The space is within, so that a full stop after the time stands directly after it.
            _ => format!("<span class=\"onprint\"> ({})</span>", html_escape(&exact)),
        },
    )
}

/// Returns the time in the zone of the reader and in UTC.
fn exact(at: Timestamp, reader: Option<&TimeZone>) -> String {
    let utc = at.short(&TimeZone::UTC);
    match reader {
        Some(zone) if *zone != TimeZone::UTC => format!("{} ({utc})", at.short(zone)),
        _ => utc,
    }
}

/// Returns how long ago a time was, or how far away it is. `None` if the date says more.
fn ago(at: Timestamp, now: Timestamp) -> Option<String> {
    let seconds = now.seconds_since(at);
    let length = match seconds.abs() {
        0..5 => return Some("just now".to_owned()),
        length @ ..MINUTE => format!("{length} s"),
        length @ ..HOUR => format!("{} min", length / MINUTE),
        length @ ..DAY => format!("{} h", length / HOUR),
        length @ ..DATE_FROM => format!("{} d", length / DAY),
        _ => return None,
    };
    Some(if seconds < 0 {
        format!("in {length}")
    } else {
        format!("{length} ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_the_present() {
        let now = Timestamp::parse("2024-03-14T12:00:00Z").unwrap();
        for (at, text) in [
            ("2024-03-14T12:00:00Z", Some("just now")),
            ("2024-03-14T11:59:30Z", Some("30 s ago")),
            ("2024-03-14T11:48:01Z", Some("11 min ago")),
            ("2024-03-14T07:00:00Z", Some("5 h ago")),
            ("2024-03-11T11:00:00Z", Some("3 d ago")),
            ("2024-03-14T12:18:30Z", Some("in 18 min")),
            ("2024-03-01T12:00:00Z", None),
        ] {
            assert_eq!(ago(Timestamp::parse(at).unwrap(), now).as_deref(), text, "{at}");
        }
    }

    #[test]
    fn the_exact_time_names_both_zones() {
        let at = Timestamp::parse("2024-03-14T06:56:00Z").unwrap();
        let nairobi = time_zone("Africa/Nairobi").ok();
        assert_eq!(
            exact(at, nairobi.as_ref()),
            "2024-03-14 09:56:00 EAT (2024-03-14 06:56:00 UTC)"
        );
        let shown = written(at, at.plus(std::time::Duration::from_secs(600)), None);
        assert!(
            shown.contains(">10 min ago</time>") && shown.contains("title=\"2024-03-14 06:56:00 UTC\""),
            "{shown}"
        );
    }
}
