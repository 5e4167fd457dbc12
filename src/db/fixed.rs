//! Statements that are written by hand and stay prepared on the connection. Their text is always the same, or
//! one of a few. Parsing such a statement takes longer than running it many times.
//!
//! The text must not contain a value and must not depend on the number of values, because every text stays
//! prepared as long as the connection lives.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement that stays prepared.
pub(crate) struct Fixed<Q>(Q);

/// A statement that can stay prepared.
pub(crate) trait FixedText: Sized {
    /// Marks the statement as one whose text is always the same, or one of a few.
    fn fixed(self) -> Fixed<Self>;
}

impl<Q: Query> FixedText for Q {
    fn fixed(self) -> Fixed<Self> {
        Fixed(self)
    }
}

impl<Q> QueryId for Fixed<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Fixed<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> RunQueryDsl<C> for Fixed<Q> {}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Fixed<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _backend: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}
