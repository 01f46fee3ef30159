//! What one call takes and answers: the words in which `endpoints` describes it.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{error::ApiError, http::BAD_HOST, metrics::TokenRefusal};

/// Writes a type's schema, or a reference to it.
pub(in crate::http) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Who must be shown to be calling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Auth {
    /// The phone app's own JWT.
    AppToken,
    /// A web token that this service made.
    WebToken,
}

/// Who calls it: the chapters of `/docs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Tag {
    /// The page that waits.
    Browser,
    /// The app.
    Phone,
    /// Whoever is shown a web token.
    Backend,
    /// Whoever is curious, and the systems of phones.
    Files,
    /// The demo's own pages.
    Demo,
}

impl Tag {
    /// In the order of a login.
    pub(super) const ALL: [Self; 5] =
        [Self::Browser, Self::Phone, Self::Backend, Self::Files, Self::Demo];

    /// As chapters are called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Browser => "Browser",
            Self::Phone => "Phone",
            Self::Backend => "Backend",
            Self::Files => "Files",
            Self::Demo => "Demo",
        }
    }

    /// One sentence.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Browser => {
                "What `<scan-login>` calls, from the page that wants somebody to log in."
            }
            Self::Phone => {
                "What the app calls for the user who is logged in to it. `scanlogin token` makes an app token for trying things."
            }
            Self::Backend => {
                "What is asked about web tokens, by a page or by the server behind it."
            }
            Self::Files => "What is served to anybody.",
            Self::Demo => "What is there only with `SCANLOGIN_DEMO`.",
        }
    }
}

/// Where a parameter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Place {
    /// After the `?`.
    Query,
    /// Among the headers.
    Header,
}

/// A parameter.
pub(in crate::http) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) description: &'static str,
    pub(super) schema: SchemaOf,
}

/// A request's body: JSON, and a form where `form` says so.
pub(in crate::http) struct Body {
    pub(super) schema: SchemaOf,
    pub(super) form: bool,
}

/// An answer that is no refusal.
pub(in crate::http) struct Success {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) content_type: &'static str,
    pub(super) cache: &'static str,
    pub(super) schema: Option<SchemaOf>,
}

/// One method of one path.
pub(in crate::http) struct Operation {
    pub(super) id: &'static str,
    pub(super) tag: Tag,
    pub(super) summary: &'static str,
    pub(super) description: Option<&'static str>,
    pub(super) auth: Option<Auth>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) successes: Vec<Success>,
    pub(super) refusals: Vec<ApiError>,
}

/// A type as a reference into the document's components.
pub(in crate::http) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Operation {
    /// An operation with this id and one line that says what it does.
    pub(in crate::http) fn new(tag: Tag, id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            description: None,
            auth: None,
            parameters: Vec::new(),
            body: None,
            successes: Vec::new(),
            // Before any route is looked at.
            refusals: vec![ApiError::HeadTooLarge, BAD_HOST],
        }
    }

    /// What the summary has no room for.
    pub(in crate::http) fn description(mut self, text: &'static str) -> Self {
        self.description = Some(text);
        self
    }

    /// Needs a token; without it [`ApiError::Unauthenticated`] and what else may come of one.
    pub(in crate::http) fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        let operation = self.refused(&[ApiError::Unauthenticated(TokenRefusal::Expired)]);
        match auth {
            // Where the app's keys are in a set that is elsewhere.
            Auth::AppToken => {
                operation.refused(&[ApiError::KeysAway, ApiError::Limited(Duration::from_secs(1))])
            }
            Auth::WebToken => operation,
        }
    }

    /// Takes a parameter.
    pub(in crate::http) fn parameter(
        mut self,
        place: Place,
        name: &'static str,
        required: bool,
        description: &'static str,
        schema: SchemaOf,
    ) -> Self {
        self.parameters.push(Parameter { name, place, required, description, schema });
        self
    }

    /// Takes a body as JSON or as a form, with all that can be wrong with one.
    pub(in crate::http) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { schema: schema::<T>, form: true });
        let malformed = ApiError::Malformed("What is wrong with the body");
        self.refused(&[malformed, ApiError::TooLarge, ApiError::UnsupportedType])
    }

    /// Takes a body as JSON only.
    pub(in crate::http) fn json_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { schema: schema::<T>, form: false });
        let malformed = ApiError::Malformed("What is wrong with the body");
        self.refused(&[malformed, ApiError::TooLarge, ApiError::NotJson])
    }

    /// Answers 200 with a JSON body that no cache may keep.
    pub(in crate::http) fn answers<T: JsonSchema>(mut self, description: &'static str) -> Self {
        self.successes.push(Success {
            status: 200,
            description,
            content_type: "application/json",
            cache: "no-store",
            schema: Some(schema::<T>),
        });
        self
    }

    /// Answers 200 with something that is no answer to anybody in particular, and may be kept so.
    pub(in crate::http) fn serves(
        mut self,
        content_type: &'static str,
        cache: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = None;
        self.successes.push(Success { status: 200, description, content_type, cache, schema });
        self
    }

    /// Answers with this status and no body.
    pub(in crate::http) fn without_body(mut self, status: u16, description: &'static str) -> Self {
        let (content_type, cache, schema) = ("", "", None);
        self.successes.push(Success { status, description, content_type, cache, schema });
        self
    }

    /// Refuses in these ways.
    pub(in crate::http) fn refused(mut self, refusals: &[ApiError]) -> Self {
        for refusal in refusals {
            if !self.refusals.contains(refusal) {
                self.refusals.push(refusal.clone());
            }
        }
        self
    }
}
