//! The fields of a source, and how they become the body of the API: the queries are one object there, and the schedule is a cron expression.

use serde_json::{Map, Value, json};

use crate::base::error::{Error, FieldError, Result};
use crate::directory::line::LineKind;
use crate::directory::source::schedule::Schedule;
use crate::directory::source::{Source, SourceKind};
use crate::http::admin::field::Field;
use crate::http::admin::form::Form;

const NAME: Field = Field::text(
    "name",
    "Name",
    "For the people who work with Candor, such as Product database.",
);

const DATABASE_URL: Field = Field::text(
    "url",
    "Address of the database",
    "postgres://user:password@host/database, mysql://user:password@host/database, or sqlite:///path/of/the/file. Use a user who may only read. \
     The password is stored and never shown again.",
);
const NEW_DATABASE_URL: Field = Field::text(
    "url",
    "New address of the database",
    "If empty, the present one stays. The password in it is never shown.",
)
.optional();
const SERVICE_URL: Field = Field::text(
    "url",
    "URL of the service",
    "Candor sends it a signed request when an alert contains an ID that the directory does not know.",
);
const NEW_SERVICE_URL: Field = Field::text(
    "url",
    "New URL of the service",
    "If empty, the present one stays.",
)
.optional();

const fn query(name: &'static str, label: &'static str, hint: &'static str) -> Field {
    Field::own(name, label, hint, read_query, write_query)
}

const ACCOUNTS: Field = query(
    "accounts",
    "Accounts",
    "An SQL query. Columns: id, name. Optional: locale, time_zone, labels (a JSON object), label_NAME. Leave it empty if the database has none.",
);
const PEOPLE: Field = query(
    "people",
    "People",
    "Columns: id, name, email. Optional: locale, time_zone.",
);
const RESOURCES: Field = query(
    "resources",
    "Resources",
    "Columns: type, id. Optional: name, account, parent_type, parent_id, labels, label_NAME.",
);
const MEMBERS: Field = query("members", "Members", "Columns: account, person, role.");
const COLLABORATORS: Field = query(
    "collaborators",
    "Collaborators",
    "Columns: resource_type, resource_id, person, role.",
);

const EVERY: Field = Field::choice(
    "every",
    "Read it",
    "All times are in UTC.",
    &[
        ("never", "Only when somebody starts a sync"),
        ("quarter", "Every 15 minutes"),
        ("hour", "Every hour"),
        ("six", "Every 6 hours"),
        ("day", "Every day at a time"),
        ("week", "Every week on a day at a time"),
        ("cron", "By a cron expression"),
    ],
    "must be one of the choices in the list",
);
const AT: Field = Field::text("at", "Time (UTC)", "For every day and every week, such as 02:00.")
    .optional()
    .beside();
const DAY: Field = Field::choice(
    "day",
    "Day",
    "For every week.",
    &[
        ("1", "Monday"),
        ("2", "Tuesday"),
        ("3", "Wednesday"),
        ("4", "Thursday"),
        ("5", "Friday"),
        ("6", "Saturday"),
        ("0", "Sunday"),
    ],
    "must be a day of the week",
)
.beside();
const CRON: Field = Field::text(
    "cron",
    "Cron expression",
    "Only for the last choice: minute, hour, day, month and weekday, in UTC.",
)
.optional();

const GONE: Field = Field::number(
    "max_gone_percent",
    "A sync asks first if it would archive more than this share (percent)",
    "Of the entries that this source brought before. The default is 10.",
    (0, 100, 1),
    "must be a number from 0 to 100",
);
const LEFT_OUT: Field = Field::number(
    "max_left_out_percent",
    "A sync stops if it would leave out more than this share of the rows (percent)",
    "Rows that cannot be used. The default is 10.",
    (0, 100, 1),
    "must be a number from 0 to 100",
);
const STALE: Field = Field::number(
    "stale_after",
    "The data is too old after (hours)",
    "Then notices warn of it. The default is 24.",
    (1, 8_784, 3_600),
    "must be a number of hours from 1 to 8784 (a year)",
);
const SECRET: Field = Field::text(
    "secret",
    "Secret",
    "It signs the requests: whsec_ and 24 to 64 bytes in base64. If empty, Candor creates one and shows it once.",
)
.optional();

/// The fields of a new database.
pub(super) const NEW_DATABASE: &[Field] = &[
    NAME,
    DATABASE_URL,
    ACCOUNTS,
    PEOPLE,
    RESOURCES,
    MEMBERS,
    COLLABORATORS,
    EVERY,
    AT,
    DAY,
    CRON,
    GONE,
    LEFT_OUT,
    STALE,
];
/// The fields of a database that exists.
pub(super) const DATABASE: &[Field] = &[
    NAME,
    NEW_DATABASE_URL,
    ACCOUNTS,
    PEOPLE,
    RESOURCES,
    MEMBERS,
    COLLABORATORS,
    EVERY,
    AT,
    DAY,
    CRON,
    GONE,
    LEFT_OUT,
    STALE,
];
/// The fields of a new service.
pub(super) const NEW_SERVICE: &[Field] = &[NAME, SERVICE_URL, SECRET];
/// The fields of a service that exists.
pub(super) const SERVICE: &[Field] = &[NAME, NEW_SERVICE_URL];

fn read_query(text: &str) -> std::result::Result<Value, Vec<String>> {
    // A semicolon at the end is what people copy with a query.
    let text = text.trim().trim_end_matches(';').trim_end();
    Ok(match text.is_empty() {
        true => Value::Null,
        false => json!(text),
    })
}

fn write_query(stored: &Value) -> String {
    stored.as_str().unwrap_or_default().to_owned()
}

/// Returns the name of a kind for people.
pub(super) fn kind_label(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Postgres => "PostgreSQL database",
        SourceKind::Mysql => "MySQL or MariaDB database",
        SourceKind::Sqlite => "SQLite file",
        SourceKind::Http => "Service that Candor asks",
    }
}

/// Returns the kind with this word.
pub(super) fn kind_of(word: &str) -> Option<SourceKind> {
    serde_json::from_value(json!(word)).ok()
}

/// Turns the body of the form into the body of the API.
///
/// # Errors
/// `Invalid` if the time of the schedule cannot be read.
pub(super) fn api_body(mut body: Value, engine: bool) -> Result<Value> {
    let Some(fields) = body.as_object_mut() else {
        return Ok(body);
    };
    if !engine {
        return Ok(body);
    }
    let mut queries = Map::new();
    for kind in LineKind::ALL {
        match fields.remove(kind.plural()) {
            None | Some(Value::Null) => {}
            Some(query) => {
                queries.insert(kind.plural().to_owned(), query);
            }
        }
    }
    let text = |fields: &mut Map<String, Value>, name: &str| {
        let value = fields.remove(name);
        value
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let (every, at) = (text(fields, "every"), text(fields, "at"));
    let (day, cron) = (text(fields, "day"), text(fields, "cron"));
    let schedule = schedule(&every, &at, &day, &cron)?;
    fields.insert("queries".to_owned(), Value::Object(queries));
    fields.insert("schedule".to_owned(), json!(schedule.cron()));
    Ok(body)
}

fn schedule(every: &str, at: &str, day: &str, cron: &str) -> Result<Schedule> {
    let time = || {
        let wrong = || Error::invalid("/at", "must be a time such as 02:00");
        let (hour, minute) = at.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str, most: u8| text.parse::<u8>().ok().filter(|number| *number <= most);
        number(hour, 23).zip(number(minute, 59)).ok_or_else(wrong)
    };
    Ok(match every {
        "quarter" => Schedule::QuarterHourly,
        "hour" => Schedule::Hourly(0),
        "six" => Schedule::SixHourly(0),
        "day" => {
            let (hour, minute) = time()?;
            Schedule::Daily(hour, minute)
        }
        "week" => {
            let (hour, minute) = time()?;
            Schedule::Weekly(day.parse().unwrap_or(1), hour, minute)
        }
        "cron" if cron.is_empty() => return Err(Error::invalid("/cron", "must not be empty")),
        "cron" => Schedule::Cron(cron.to_owned()),
        _ => Schedule::Never,
    })
}

/// Moves the errors of the API to the fields of the form.
pub(super) fn relocated(error: Error) -> Error {
    match error {
        Error::Invalid { errors, .. } => Error::fields(
            errors
                .into_iter()
                .map(|error| FieldError {
                    pointer: error.pointer.map(|pointer| match pointer.as_str() {
                        "/schedule" => "/cron".to_owned(),
                        "/queries" => "/accounts".to_owned(),
                        other => other.replacen("/queries/", "/", 1),
                    }),
                    ..error
                })
                .collect(),
        ),
        Error::Coded(code, inner) => relocated(*inner).code(code),
        other => other,
    }
}

/// Returns the form of a source that exists.
pub(super) fn form_of(source: &Source) -> Form {
    if source.kind.engine().is_none() {
        return Form::new(SERVICE).with("name", source.name.clone());
    }
    let queries = |kind: LineKind| source.queries.query(kind).unwrap_or_default().to_owned();
    let schedule = Schedule::of(source.schedule.as_deref());
    let (every, at, day, cron) = match &schedule {
        Schedule::Never => ("never", String::new(), 1, String::new()),
        Schedule::QuarterHourly => ("quarter", String::new(), 1, String::new()),
        // A form represents only the full hour. Another minute stays a cron expression, so that saving changes nothing.
        Schedule::Hourly(0) => ("hour", String::new(), 1, String::new()),
        Schedule::SixHourly(0) if source.schedule.as_deref() == Some("0 */6 * * *") => {
            ("six", String::new(), 1, String::new())
        }
        Schedule::Daily(hour, minute) => ("day", format!("{hour:02}:{minute:02}"), 1, String::new()),
        Schedule::Weekly(day, hour, minute) => {
            ("week", format!("{hour:02}:{minute:02}"), *day, String::new())
        }
        Schedule::Hourly(_) | Schedule::SixHourly(_) | Schedule::Cron(_) => (
            "cron",
            String::new(),
            1,
            source.schedule.clone().unwrap_or_default(),
        ),
    };
    Form::new(DATABASE)
        .with("name", source.name.clone())
        .with("accounts", queries(LineKind::Account))
        .with("people", queries(LineKind::Person))
        .with("resources", queries(LineKind::Resource))
        .with("members", queries(LineKind::Member))
        .with("collaborators", queries(LineKind::Collaborator))
        .with("every", every)
        .with("at", at)
        .with("day", day.to_string())
        .with("cron", cron)
        .with("max_gone_percent", source.max_gone_percent.to_string())
        .with("max_left_out_percent", source.max_left_out_percent.to_string())
        .with("stale_after", (source.stale_after / 3_600).max(1).to_string())
}
