//! The cookie that holds the web token, where tokens are delivered by ticket.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
};
use cookie::{Cookie, SameSite, time::Duration};

use crate::error::ApiError;

/// `__Host-`: browsers take it only with `Secure`, for `/` and without a domain, so that no other
/// host of the same site can put one of its own in its place (RFC 6265bis, 4.1.3.2).
const NAME: &str = "__Host-scanlogin";
/// Browsers forget larger ones: name, value and attributes (RFC 6265bis, 5.6).
const MAX_COOKIE: usize = 4096;

/// The web token that a browser brings. Cookies are bytes: one of another application of this host,
/// which may hold any, hides ours no more than it hides the others. And a name is exact: where more
/// than blanks were trimmed, a cookie could be planted that browsers do not take for `__Host-`.
pub(super) fn token(request: &HttpRequest) -> Option<String> {
    let lines = request.headers().get_all(header::COOKIE);
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, value)| value.to_owned())
}

/// `Set-Cookie` for a token that lasts for `seconds`.
///
/// # Errors
/// [`ApiError::TokenIsNoCookie`]: no browser would keep it.
pub(super) fn set(token: &str, seconds: u64) -> Result<HeaderValue, ApiError> {
    // The octets of a cookie's value (RFC 6265, 4.1.1); a JWT has no others.
    let is_octet = |byte: &u8| byte.is_ascii_graphic() && !br#"",;\"#.contains(byte);
    let value = cookie(token, seconds);
    if value.len() > MAX_COOKIE || !token.as_bytes().iter().all(is_octet) {
        return Err(ApiError::TokenIsNoCookie);
    }
    HeaderValue::from_str(&value).map_err(|_| ApiError::TokenIsNoCookie)
}

/// `Set-Cookie` that makes the browser forget it.
pub(super) fn forget() -> HeaderValue {
    HeaderValue::from_str(&cookie("", 0)).expect("a cookie without a value is plain ASCII")
}

fn cookie(value: &str, seconds: u64) -> String {
    Cookie::build((NAME, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
        .to_string()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn no_other_cookie_hides_the_token_or_is_taken_for_it() {
        let found = |lines: &[&[u8]]| {
            let request = lines.iter().fold(TestRequest::default(), |request, line| {
                let value = HeaderValue::from_bytes(line).expect("bytes of a header");
                request.append_header((header::COOKIE, value))
            });
            token(&request.to_http_request())
        };
        let some = Some("a.b-c_d".to_owned());
        assert_eq!(found(&[b"theme=dark; __Host-scanlogin=a.b-c_d"]), some);
        assert_eq!(found(&[b"name=\xe4; __Host-scanlogin=a.b-c_d; city=K\xc3\xb6ln"]), some);
        assert_eq!(found(&[b"name=\xe4", b"__Host-scanlogin=a.b-c_d"]), some);
        assert_eq!(found(&[b"noname;;=;__Host-scanlogin=a.b-c_d"]), some);
        // A browser lets any host of the site set these: none begins with `__Host-` there.
        for planted in
            ["\u{2000}__Host-scanlogin=x", "\u{a0}__Host-scanlogin=x", "__host-scanlogin=x"]
        {
            assert_eq!(found(&[planted.as_bytes()]), None, "{planted:?}");
        }
    }

    #[test]
    fn no_script_and_no_other_host_can_have_it() {
        let set = set("a.b-c_d", 60).unwrap();
        let mut parts: Vec<_> = set.to_str().unwrap().split("; ").collect();
        assert_eq!(parts.remove(0), "__Host-scanlogin=a.b-c_d");
        parts.sort_unstable();
        assert_eq!(parts, ["HttpOnly", "Max-Age=60", "Path=/", "SameSite=Lax", "Secure"]);
        assert!(forget().to_str().unwrap().starts_with("__Host-scanlogin=; "));
        assert!(forget().to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn what_is_no_cookie_value_is_refused() {
        for token in ["a;b", "a b", "a,b", "\"a\"", "ä", "a\r\nSet-Cookie: b", &"x".repeat(4096)] {
            assert_eq!(set(token, 60), Err(ApiError::TokenIsNoCookie), "{token}");
        }
    }
}
