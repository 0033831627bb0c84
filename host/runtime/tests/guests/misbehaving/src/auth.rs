//! The authenticator: one deed for each kind of source, and one for each action that it signs.

#[allow(warnings, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../../../wit", world: "cloud-auth" });
}

use bindings::exports::wharf::volume::authenticator::{
    AuthDescription, Credential, File, Guest, Signature, Source, UnsignedRequest,
};
use bindings::wharf::volume::types::{Blame, Effect, Error, ErrorKind};
use bindings::wharf::volume::{http, log};

struct Misbehaving;

impl Guest for Misbehaving {
    fn describe() -> Result<AuthDescription, Error> {
        Ok(AuthDescription {
            name: "misbehaving".into(),
            version: "0.1.0".into(),
            reserved_headers: vec!["authorization".into(), "x-signed-".into()],
            reserved_query: vec!["Signature".into()],
            source_kinds: vec!["key".into(), "ask".into()],
            forms: vec!["passwd".into()],
            throttling_codes: vec!["Throttling".into()],
            extensions: vec![],
        })
    }

    fn obtain(source: Source, now_ms: u64) -> Result<Credential, Error> {
        let credential = |values| {
            Ok(Credential { values, expires_at_ms: Some(now_ms + 3_600_000), extensions: vec![] })
        };
        match source.kind.as_str() {
            "key" => credential(source.values),
            "none" => Err(error(ErrorKind::NotFound, "nothing here")),
            "ask" => {
                let answer = http::send(&request("/ok"))?;
                credential(vec![("status".into(), answer.status.to_string())])
            }
            "ask-with-key" => http::send(&request(&format!("/{}", source.values[0].1)))
                .and_then(|_| credential(vec![])),
            "huge" => {
                credential((0..33).map(|number| (number.to_string(), String::new())).collect())
            }
            "tell" => Err(error(ErrorKind::Other, &format!("the values are {:?}", source.values))),
            _ => panic(&format!("the values are {:?}", source.values)),
        }
    }

    fn sign(
        request: UnsignedRequest,
        credential: Credential,
        _: u64,
        nonce: String,
    ) -> Result<Signature, Error> {
        let sent = format!(
            "{} {}{} {:?} by {:?}",
            request.method, request.host, request.path, request.query, credential.values
        );
        match request.action.as_str() {
            "leak" => match http::send(&self::request("/leak")) {
                Ok(_) => Err(error(ErrorKind::Other, "leaked")),
                Err(error) => Err(error),
            },
            "steal-host" => Ok(Signature {
                headers: vec![("host".into(), "evil.example.com".into())],
                query: vec![],
                binds_action: true,
                extensions: vec![],
            }),
            "tell" => {
                log::write(log::Level::Error, &sent);
                Err(error(ErrorKind::Other, &sent))
            }
            _ => Ok(Signature {
                headers: vec![
                    ("x-signed-nonce".into(), nonce),
                    ("authorization".into(), "by the signer".into()),
                ],
                query: vec![("Signature".into(), "s+/=".into())],
                binds_action: request.action != "unbound",
                extensions: vec![],
            }),
        }
    }

    fn render(
        credential: Credential,
        form: String,
        values: Vec<(String, String)>,
    ) -> Result<Vec<File>, Error> {
        match form.as_str() {
            "passwd" => {
                let line = format!("{:?} for {:?}", credential.values, values);
                Ok(vec![File { name: "passwd".into(), content: line.into_bytes() }])
            }
            "climb" => render_file("../passwd", 1),
            "huge" => render_file("passwd", (16 << 10) + 1),
            _ => Err(error(ErrorKind::Unsupported, "no such form")),
        }
    }
}

fn render_file(name: &str, bytes: usize) -> Result<Vec<File>, Error> {
    Ok(vec![File { name: name.into(), content: vec![b'k'; bytes] }])
}

fn panic(message: &str) -> ! {
    log::panicked(message);
    std::process::abort()
}

fn request(path: &str) -> http::Request {
    http::Request {
        endpoint: "cloud".into(),
        account: None,
        effect: http::Effect::Read,
        action: String::new(),
        api: vec![],
        method: "GET".into(),
        subdomain: None,
        path: path.into(),
        query: vec![],
        headers: vec![("authorization".into(), "by the authenticator itself".into())],
        body: vec![],
        extensions: vec![],
    }
}

fn error(kind: ErrorKind, message: &str) -> Error {
    Error {
        kind,
        message: message.into(),
        hint: None,
        blame: Blame::User,
        effect: Effect::None,
        code: None,
        observed: false,
        retry_after_ms: None,
        extensions: vec![],
    }
}

bindings::export!(Misbehaving with_types_in bindings);
