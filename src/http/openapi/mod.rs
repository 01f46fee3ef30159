//! `/openapi.json`: the public port as OpenAPI 3.1, made from what the code has.
//!
//! Paths and methods are those of [`endpoints`](super::endpoints), the same table that the routes
//! are made from. A refusal's status, code, text and headers are read off the answer that
//! [`ApiError::response`] really makes. Schemas are derived from the types.
//!
//! Not utoipa: its macros want each status and code written again at each handler, a second source
//! beside the error enum, and they make no routes.

pub(super) mod example;
mod operation;
mod render;

pub(super) use self::{
    operation::{Auth, Operation, Place, Tag, schema},
    render::document,
};
