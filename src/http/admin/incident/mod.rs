//! `/admin/incidents/{id or number}`: the pages of an incident. They share a head, which says how it stands and what is to be done
//! next. Each tab is a page of its own, so that it is small and can be linked.

mod alerts;
mod comparison;
mod comparison_fetch;
mod comparisons;
mod emergency;
pub(super) mod evidence;
mod follow_ups;
mod head;
mod notices;
mod overview;
mod people;
mod recovery;
mod report;
mod report_history;
mod resources;
mod times;
mod unmatched;
mod unreached;
mod whole;

use crate::http::admin_page::Pages;

pub(super) use head::Reader;

pub(super) fn routes(pages: &mut Pages) {
    overview::routes(pages);
    notices::routes(pages);
    people::routes(pages);
    resources::routes(pages);
    comparisons::routes(pages);
    comparison::routes(pages);
    recovery::routes(pages);
    comparison_fetch::routes(pages);
    alerts::routes(pages);
    times::routes(pages);
    report::routes(pages);
    evidence::routes(pages);
    report_history::routes(pages);
    follow_ups::routes(pages);
    emergency::routes(pages);
    unreached::routes(pages);
    unmatched::routes(pages);
}
