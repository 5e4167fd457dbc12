//! Inserts many rows into one table. The text of the statements does not depend on the number of rows, so
//! they stay prepared. SQLite inserts the rows one after another, and PostgreSQL gets a list for each column.
//! A statement with a parameter for every value of every row would be parsed and planned each time, which
//! takes longer than the insert itself.
//!
//! Every named column must have a value, and rows never replace others.

/// Inserts rows (`Insertable`) into a table. The arguments are its module, its name, and for each column the
/// type and the expression for its value.
macro_rules! insert_many {
    ($conn:expr, $table:path, $name:literal, $rows:expr, { $($column:ident: $type:ty = $value:expr),+ $(,)? }) => {{
        let rows = $rows;
        match &mut *$conn {
            $crate::db::Conn::Sqlite(conn) => {
                for row in rows {
                    diesel::insert_into($table).values(row).execute(conn)?;
                }
            }
            $crate::db::Conn::Pg(conn) => match rows {
                [] => {}
                [row] => {
                    diesel::insert_into($table).values(row).execute(conn)?;
                }
                rows => {
                    let names = [$(stringify!($column)),+];
                    let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
                    let text = format!(
                        "INSERT INTO {} ({}) SELECT * FROM UNNEST({})",
                        $name,
                        names.join(", "),
                        places.join(", ")
                    );
                    let query = diesel::sql_query(text)
                        $(.bind::<diesel::sql_types::Array<$type>, _>(rows.iter().map($value).collect::<Vec<_>>()))+;
                    $crate::db::FixedText::fixed(query).execute(conn)?;
                }
            },
        }
    }};
}
pub(crate) use insert_many;
