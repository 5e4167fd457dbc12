//! `/admin/directory`: the customers. Accounts, people and resources are found by a part of their names, created, changed and deleted here, and the sources,
//! the import, the endpoints of accounts and the suppressed addresses are managed here.
//!
//! A page says which source brought an entry, because its next sync overwrites what somebody changes by hand.

mod account_forms;
mod accounts;
mod address;
mod contact_forms;
mod delete;
mod endpoints;
mod entry_forms;
mod erase;
pub(super) mod history;
mod import;
mod member_forms;
mod overview;
mod people;
mod person_forms;
mod resource_forms;
mod resources;
mod shown;
mod source_fields;
mod source_forms;
mod source_runs;
mod sources;
mod suppressions;
mod trial;

use crate::http::admin_page::Pages;

pub(super) fn routes(pages: &mut Pages) {
    overview::routes(pages);
    accounts::routes(pages);
    account_forms::routes(pages);
    member_forms::routes(pages);
    contact_forms::routes(pages);
    endpoints::routes(pages);
    people::routes(pages);
    history::routes(pages);
    person_forms::routes(pages);
    address::routes(pages);
    erase::routes(pages);
    resources::routes(pages);
    resource_forms::routes(pages);
    import::routes(pages);
    sources::routes(pages);
    source_forms::routes(pages);
    source_runs::routes(pages);
    suppressions::routes(pages);
}
