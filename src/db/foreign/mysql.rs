//! Reads a MySQL or MariaDB database of others.
//!
//! - The transaction never writes.
//! - A file that the server asks for is never sent.
//! - A password is never sent over a connection that should be encrypted and is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mysql::consts::ColumnType;
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder, Params, SslOpts, UrlError, Value as Cell};
use serde_json::Value;
use url::Url;

use super::address::with_credentials;
use super::reader::{CONNECT, Collector, Counted, MAX_ROW, Page, Row, too_large};
use super::statement::count_statement;
use super::{Halt, own};

/// A read-only transaction on a MySQL or MariaDB server, which reads a source of the directory.
pub(super) struct Reader {
    conn: Conn,
    warnings: Vec<String>,
}

/// The largest packet that is read: a row, and some space for the data around its values.
const MAX_PACKET: usize = MAX_ROW + 64 * 1024;

const EXAMPLE: &str = "mysql://reader:password@db.example/shop";
/// The parameters that are given to the client library unchanged. The library has more parameters. Some of
/// them say where to connect and as whom, which the URL itself says. Others skip checks of TLS, which is not
/// allowed.
const PASSED_ON: [&str; 3] = ["compress", "enable_cleartext_plugin", "prefer_socket"];
/// The largest size of a file with certificate authorities, in bytes.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// The parts of a URL.
struct Target {
    opts: Opts,
    /// Whether the connection must be encrypted.
    tls: bool,
    /// A file with certificate authorities that are trusted in addition to the public ones.
    authorities: Option<PathBuf>,
}

impl Target {
    /// Parses a URL. The parameters `tls` (`required` or `none`, and `none` is the default) and `tls_ca`
    /// belong to Candor.
    fn parse(text: &str) -> Result<Target, String> {
        if !text.starts_with("mysql://") {
            return Err("must begin with mysql://".to_owned());
        }
        let url = Url::parse(text).map_err(|_| format!("is not a URL such as {EXAMPLE}"))?;
        let mut url = with_credentials(&url)?;
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if !["tls", "tls_ca"].contains(&&*name) && !PASSED_ON.contains(&&*name) {
                // The name is not repeated, because a password with a question mark looks like a parameter.
                let known = PASSED_ON.join(", ");
                return Err(format!(
                    "has an unknown parameter; the parameters are tls, tls_ca, {known}"
                ));
            }
            if given.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(format!("has the parameter {name} twice"));
            }
        }
        let tls = match given.remove("tls").as_deref() {
            Some("required") => true,
            None | Some("none") => false,
            Some(_) => return Err("has the parameter tls, which must be `required` or `none`".to_owned()),
        };
        let authorities = given.remove("tls_ca").map(PathBuf::from);
        if authorities
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err("has the parameter tls_ca, which must be the path of a file".to_owned());
        }
        let needing = [
            ("tls_ca", authorities.is_some()),
            (
                "enable_cleartext_plugin",
                given.contains_key("enable_cleartext_plugin"),
            ),
        ];
        for (name, is_there) in needing {
            if is_there && !tls {
                return Err(format!(
                    "has the parameter {name}, which is only allowed together with tls=required"
                ));
            }
        }
        url.set_query(None);
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
        let opts = Opts::from_url(url.as_str()).map_err(|error| match error {
            UrlError::InvalidValue(name, _) => format!("has the parameter {name} with an unknown value"),
            _ => format!("is not a URL such as {EXAMPLE}"),
        })?;
        if opts.get_db_name().is_none() {
            return Err(format!("has no database; write it like {EXAMPLE}"));
        }
        Ok(Target {
            opts,
            tls,
            authorities,
        })
    }

    /// Returns the TLS options for the library. Returns `None` if the connection is not encrypted.
    fn ssl(&self) -> Result<Option<SslOpts>, String> {
        if let Some(path) = &self.authorities {
            // The library does not name a file that it cannot read, and it reads a file without a limit.
            let of_file = |reason: &str| format!("tls_ca, {}: {reason}", path.display());
            let file = fs::metadata(path).map_err(|error| of_file(&error.to_string()))?;
            if !file.is_file() || file.len() > MAX_AUTHORITIES {
                return Err(of_file("is not a file of certificates"));
            }
        }
        Ok(self
            .tls
            .then(|| SslOpts::default().with_root_cert_path(self.authorities.clone())))
    }
}

/// Checks that the server answers the question that it gets. The library keeps data that arrived before the
/// encryption began, and uses it as the first answers after it. So an attacker on the network could insert
/// answers. Nobody can know this random question in advance.
fn answers_for_itself(conn: &mut Conn) -> Result<(), String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    let word = format!("{:032x}", u128::from_be_bytes(bytes));
    let answer: Option<String> = conn
        .query_first(format!("SELECT '{word}'"))
        .map_err(|error| error_text(&error))?;
    match answer.as_deref() == Some(&*word) {
        true => Ok(()),
        false => Err("the server sent unencrypted data after it agreed to TLS".to_owned()),
    }
}

pub(super) fn check(url: &str) -> Result<(), String> {
    Target::parse(url).map(drop)
}

fn error_text(error: &mysql::Error) -> String {
    match error {
        mysql::Error::MySqlError(error) => format!("{} ({})", error.message, error.code),
        mysql::Error::CodecError(_) => {
            format!(
                "{}; or the answer of the server cannot be read: {error}",
                too_large()
            )
        }
        other => other.to_string(),
    }
}

/// Ends the statement that runs on a connection, over another one. What goes wrong here is not reported: the
/// statement still has its own limit of time, and the request is repeated until the reading has ended.
fn cancel(opts: &Opts, id: u32) {
    if let Ok(mut conn) = Conn::new(opts.clone()) {
        let _ = conn.query_drop(format!("KILL QUERY {id}"));
    }
}

impl Reader {
    pub(super) fn open(url: &str, patience: Duration, halt: &Halt) -> Result<Self, String> {
        let target = Target::parse(url)?;
        let ssl = target.ssl()?;
        // The wait is a little longer than the statement may take, because the error of the server contains
        // more information.
        let wait = patience + CONNECT;
        let opts = OptsBuilder::from_opts(target.opts)
            .ssl_opts(ssl)
            .prefer_socket(false)
            .tcp_connect_timeout(Some(CONNECT))
            .read_timeout(Some(wait))
            .write_timeout(Some(wait))
            .stmt_cache_size(0)
            .max_allowed_packet(Some(MAX_PACKET))
            .local_infile_handler(None);
        let opts = Opts::from(opts);
        let mut conn = Conn::new(opts.clone()).map_err(|error| error_text(&error))?;
        let id = conn.connection_id();
        halt.on_stop(move || cancel(&opts, id));
        if target.tls {
            answers_for_itself(&mut conn)?;
        }
        // MariaDB counts in seconds and MySQL in milliseconds, and neither knows the setting of the other. The second on top
        // lets Candor's own limit end the statement first, because its error names the setting.
        let patience = patience + Duration::from_secs(1);
        let mariadb = format!("SET SESSION max_statement_time = {}", patience.as_secs());
        if conn.query_drop(mariadb).is_err() {
            conn.query_drop(format!(
                "SET SESSION max_execution_time = {}",
                patience.as_millis()
            ))
            .map_err(|error| error_text(&error))?;
        }
        for statement in [
            "SET SESSION time_zone = '+00:00'",
            // CHAR columns are returned without the spaces that fill them.
            "SET SESSION sql_mode = REPLACE(@@sql_mode, 'PAD_CHAR_TO_FULL_LENGTH', '')",
            // The setting also applies to any transaction after this one.
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION TRANSACTION READ ONLY",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ] {
            conn.query_drop(statement).map_err(|error| error_text(&error))?;
        }
        if is_candors(&mut conn)? {
            return Err(own::REFUSED.to_owned());
        }
        let warnings = if may_read_files(&mut conn)? {
            vec![FILE.to_owned()]
        } else {
            Vec::new()
        };
        Ok(Reader { conn, warnings })
    }
}

const FILE: &str = "the user has the privilege FILE, with which it may read and write files on the machine of the database: \
    give the source a user that may only SELECT";

/// Returns whether the user can see all tables of Candor in one database.
fn is_candors(conn: &mut Conn) -> Result<bool, String> {
    let names = own::literals(&own::MARKS);
    let found: Option<u64> = conn
        .query_first(format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_name IN ({names}) \
             GROUP BY table_schema HAVING COUNT(*) = {}",
            own::MARKS.len()
        ))
        .map_err(|error| error_text(&error))?;
    Ok(found.is_some())
}

/// Returns whether the user may read files of the server.
fn may_read_files(conn: &mut Conn) -> Result<bool, String> {
    let found: Option<u64> = conn
        .query_first(
            "SELECT COUNT(*) FROM information_schema.user_privileges \
             WHERE privilege_type = 'FILE' AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')",
        )
        .map_err(|error| error_text(&error))?;
    Ok(found.unwrap_or_default() > 0)
}

/// Refuses a query that reads a file on the server. The function cannot be called with another name, because
/// a SELECT cannot run a text that it builds.
fn reads_no_file(query: &str) -> Result<(), String> {
    match query.to_ascii_lowercase().contains("load_file") {
        true => Err("uses LOAD_FILE: a source reads tables, not files of the database's machine".to_owned()),
        false => Ok(()),
    }
}

/// Returns the statement of a page. A comparison of whole rows would not use an index in MySQL.
fn page_statement(query: &str, key: &[&str], after: Option<&[Value]>, limit: usize) -> (String, Vec<Value>) {
    let columns: Vec<String> = key.iter().map(|column| format!("q.`{column}`")).collect();
    let mut values = Vec::new();
    let there: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} IS NOT NULL"))
        .collect();
    let there = there.join(" AND ");
    let condition = match after {
        None => there,
        Some(last) => {
            let alternatives: Vec<String> = (0..columns.len())
                .map(|depth| {
                    let mut parts: Vec<String> = Vec::new();
                    for (column, value) in columns.iter().zip(last).take(depth) {
                        parts.push(format!("{column} = ?"));
                        values.push(value.clone());
                    }
                    parts.push(format!("{} > ?", columns[depth]));
                    values.extend(last.get(depth).cloned());
                    format!("({})", parts.join(" AND "))
                })
                .collect();
            format!("{there} AND ({})", alternatives.join(" OR "))
        }
    };
    let statement = format!(
        "SELECT * FROM (\n{query}\n) AS q WHERE {condition} ORDER BY {} LIMIT {limit}",
        columns.join(", ")
    );
    (statement, values)
}

fn bound(value: &Value) -> Result<Cell, String> {
    match value {
        Value::String(text) => Ok(Cell::Bytes(text.clone().into_bytes())),
        Value::Number(number) => number
            .as_i64()
            .map(Cell::Int)
            .or_else(|| number.as_u64().map(Cell::UInt))
            .or_else(|| number.as_f64().map(Cell::Double))
            .ok_or_else(|| "a key is not a number that can be compared".to_owned()),
        _ => Err("a key is neither a text nor a number".to_owned()),
    }
}

fn value(column: &str, cell: Cell) -> Result<Value, String> {
    Ok(match cell {
        Cell::NULL => Value::Null,
        Cell::Bytes(bytes) => String::from_utf8(bytes)
            .map(Value::from)
            .map_err(|_| format!("{column}: is binary; select it as text, e.g. with HEX()"))?,
        Cell::Int(number) => Value::from(number),
        Cell::UInt(number) => Value::from(number),
        Cell::Float(number) => Value::from(number),
        Cell::Double(number) => Value::from(number),
        // Dates and times are written as the server would write them.
        other => Value::from(other.as_sql(true).trim_matches('\'').to_owned()),
    })
}

impl super::reader::Reader for Reader {
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        reads_no_file(query)?;
        // A prepared statement can contain only one statement.
        let counted: Option<(u64, u64)> = self
            .conn
            .exec_first(count_statement(query, key, '`'), ())
            .map_err(|error| error_text(&error))?;
        let (rows, keyed) = counted.ok_or("a count has no answer")?;
        Ok(Counted { rows, keyed })
    }

    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Page, String> {
        reads_no_file(query)?;
        let (statement, values) = page_statement(query, key, after, limit);
        let values = values.iter().map(bound).collect::<Result<Vec<_>, _>>()?;
        let params = if values.is_empty() {
            Params::Empty
        } else {
            Params::Positional(values)
        };
        let rows = self
            .conn
            .exec_iter(statement, params)
            .map_err(|error| error_text(&error))?;
        let mut page = Collector::new(limit);
        // Only one row is in memory at a time. The library skips the rows that the page does not take.
        for row in rows {
            let row = row.map_err(|error| error_text(&error))?;
            let columns = row.columns();
            let mut values = Row::new();
            let mut bytes = 0;
            for (column, cell) in columns.iter().zip(row.unwrap()) {
                bytes += match &cell {
                    Cell::Bytes(bytes) => bytes.len(),
                    _ => 8,
                };
                if bytes > MAX_ROW {
                    return Err(too_large());
                }
                let name = column.name_str();
                let mut value = value(&name, cell)?;
                if let (ColumnType::MYSQL_TYPE_STRING, Value::String(text)) =
                    (column.column_type(), &mut value)
                {
                    text.truncate(text.trim_end_matches(' ').len());
                }
                values.insert(name.into_owned(), value);
            }
            if !page.take(values, bytes) {
                break;
            }
        }
        Ok(page.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_behind_a_key_of_several_columns() {
        let last = [Value::from("a"), Value::from(2)];
        let (statement, values) = page_statement("SELECT 1", &["type", "id"], Some(&last), 3);
        assert_eq!(
            statement,
            "SELECT * FROM (\nSELECT 1\n) AS q WHERE q.`type` IS NOT NULL AND q.`id` IS NOT NULL \
             AND ((q.`type` > ?) OR (q.`type` = ? AND q.`id` > ?)) \
             ORDER BY q.`type`, q.`id` LIMIT 3"
        );
        assert_eq!(values, [Value::from("a"), Value::from("a"), Value::from(2)]);
    }
}
