//! Statements written by hand whose text is always the same, or one of a few: the connection keeps them prepared, as it does
//! with the others. To parse one takes longer than many of them run.
//!
//! Must never happen here: a text that holds a value, or that is another one for each number of values. Each stays with the
//! connection for good.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement that stays prepared.
pub(crate) struct Fixed<Q>(Q);

/// Statements that can stay prepared.
pub(crate) trait Fix: Sized {
    /// Says that the text is always the same, or one of a few.
    fn fixed(self) -> Fixed<Self>;
}

impl<Q: Query> Fix for Q {
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
