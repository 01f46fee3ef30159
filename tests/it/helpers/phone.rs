//! A phone: an app token and the calls that an app makes.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

use super::{contract, service::APP_SECRET};

/// A status, headers and a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Status and `code` together, as the contract's table has them.
    pub(crate) fn codes(&self) -> (u16, i64) {
        (self.status, self.body["code"].as_i64().unwrap_or_default())
    }

    /// A text of the body.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field} in {}", self.body))
    }

    /// A header's text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    http: Client,
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// An app token with these claims.
pub(crate) fn app_token(claims: &Value, secret: &str) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("an HMAC")
}

/// A token with this header and these claims, whatever they are, under a right HMAC-SHA256.
pub(crate) fn signed(header: &str, claims: &str, secret: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("an HMAC"))
}

impl Phone {
    /// A phone of this user.
    pub(crate) fn of(address: SocketAddr, user: &str) -> Self {
        let claims = json!({ "sub": user, "exp": now() + 600, "name": format!("{user} Example") });
        Self::with_token(address, &app_token(&claims, APP_SECRET))
    }

    /// A phone with this token.
    pub(crate) fn with_token(address: SocketAddr, token: &str) -> Self {
        // The service ends a connection that is silent for 10 s: a client that may not repeat its calls
        // must let go of it before.
        let http = Client::builder().pool_idle_timeout(Duration::from_secs(4)).build();
        Self { address, token: token.into(), http: http.expect("a client") }
    }

    /// Another user's phone, over the same connections.
    pub(crate) fn lent_to(&self, user: &str) -> Self {
        Self { token: Self::of(self.address, user).token, ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub(crate) async fn scan(&self, key: &str) -> Answer {
        self.post("/scan", &json!({ "key": key })).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// A POST of an HTML form.
    pub(crate) async fn post_form(&self, path: &str, field: &str, value: &str) -> Answer {
        let request = self.request(Method::POST, path);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        answer(request.body(format!("{field}={value}"))).await
    }

    /// Scans until the store answers again.
    pub(crate) async fn scan_when_possible(&self, key: &str) -> Answer {
        super::eventually("the store answers", || async {
            Some(self.scan(key).await).filter(|answer| answer.status != 503)
        })
        .await
    }

    /// The receipt's state.
    pub(crate) async fn outcome(&self, claim: &str, wait: u32) -> Answer {
        let path = format!("/scan/outcome?wait={wait}");
        answer(self.request(Method::GET, &path).header("Scanlogin-Claim", claim)).await
    }
}

/// Sends a request; the answer must be one that `/openapi.json` describes.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().to_string(), request.url().path().to_owned());
    let answer = client.execute(request).await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let kept = headers.get("cache-control").map(|value| value.as_bytes());
    assert_eq!(kept, Some(&b"no-store"[..]), "{}: {status} {headers:?}", answer.url());
    let answer = Answer { status, headers, body: answer.json().await.unwrap_or_default() };
    let header = |name: &str| answer.headers.get(name)?.to_str().ok().map(str::to_owned);
    contract::check(&method, &path, status, header, &answer.body);
    answer
}

/// `GET /verify`
pub(crate) async fn verify(address: SocketAddr, token: &str) -> Answer {
    answer(Client::new().get(format!("http://{address}/verify")).bearer_auth(token)).await
}

/// `POST /logout`
pub(crate) async fn logout(address: SocketAddr, token: &str) -> Answer {
    answer(Client::new().post(format!("http://{address}/logout")).bearer_auth(token)).await
}
