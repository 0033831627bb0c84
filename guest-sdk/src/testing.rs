//! A host for unit tests: scripted answers, settings and a clock, on the thread of the test. Native
//! builds only.
//!
//! ```
//! use wharf_sdk::config;
//! use wharf_sdk::http::{Request, Response};
//! use wharf_sdk::testing::FakeHost;
//!
//! let host = FakeHost::install()
//!     .with_config("region", "cn-hangzhou")
//!     .answering("GET /hello", Response::new(200, "hi"));
//! assert_eq!(config::get("region").as_deref(), Some("cn-hangzhou"));
//! assert_eq!(Request::read("example", "GET", "/hello").send()?.text(), "hi");
//! assert_eq!(host.requests().len(), 1);
//! # Ok::<(), wharf_sdk::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::bindings::backend::wharf::volume::log::Level;
use crate::error::Error;
use crate::http::{Request, Response};
use crate::types::{Pairs as _, Parameters};

type Handler = Box<dyn Fn(&Request) -> Option<Result<Response, Error>>>;

#[derive(Default)]
struct State {
    config: Parameters,
    now_ms: u64,
    scripted: BTreeMap<String, VecDeque<Result<Response, Error>>>,
    handler: Option<Handler>,
    requests: Vec<Request>,
    lines: Vec<(Level, String)>,
    random: u8,
}

thread_local! {
    static INSTALLED: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// What a backend under test has for a host while this value lives.
///
/// A request that nothing was scripted for is answered with an `internal` error that names it.
pub struct FakeHost {
    state: Rc<RefCell<State>>,
}

impl FakeHost {
    /// Takes the place of the host on this thread, until it is dropped.
    #[must_use]
    pub fn install() -> Self {
        let state = Rc::new(RefCell::new(State::default()));
        INSTALLED.with(|installed| *installed.borrow_mut() = Some(Rc::clone(&state)));
        Self { state }
    }

    /// Sets one of the operator's settings.
    #[must_use]
    pub fn with_config(self, key: &str, value: &str) -> Self {
        self.state.borrow_mut().config.insert_pair(key, value);
        self
    }

    /// Sets the clock, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn at_ms(self, now_ms: u64) -> Self {
        self.state.borrow_mut().now_ms = now_ms;
        self
    }

    /// The next request that is granted as `action` (an API action, or `METHOD /path`) gets this
    /// answer. Several for one action are given in order.
    #[must_use]
    pub fn answering(self, action: &str, answer: Response) -> Self {
        self.script(action, Ok(answer));
        self
    }

    /// The next request that is granted as `action` gets no answer but this error.
    #[must_use]
    pub fn failing(self, action: &str, error: Error) -> Self {
        self.script(action, Err(error));
        self
    }

    /// Whatever is not scripted is answered by this function, if it has an answer.
    #[must_use]
    pub fn handling(
        self,
        handler: impl Fn(&Request) -> Option<Result<Response, Error>> + 'static,
    ) -> Self {
        self.state.borrow_mut().handler = Some(Box::new(handler));
        self
    }

    fn script(&self, action: &str, answer: Result<Response, Error>) {
        self.state.borrow_mut().scripted.entry(action.to_owned()).or_default().push_back(answer);
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.borrow().requests.clone()
    }

    /// What each request so far is granted as, in order.
    pub fn actions(&self) -> Vec<String> {
        self.state.borrow().requests.iter().map(Request::granted_as).collect()
    }

    /// Every line that was logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.state.borrow().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// Scripted answers that no request has asked for.
    pub fn left_over(&self) -> usize {
        self.state.borrow().scripted.values().map(VecDeque::len).sum()
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        INSTALLED.with(|installed| {
            let mut installed = installed.borrow_mut();
            if installed.as_ref().is_some_and(|state| Rc::ptr_eq(state, &self.state)) {
                *installed = None;
            }
        });
    }
}

/// What [`host`](crate::host) is made of in a native build.
pub(crate) mod seam {
    use super::{Error, INSTALLED, Level, Parameters, Rc, Request, Response, State};
    use crate::types::Pairs as _;

    fn with<T>(without: T, then: impl FnOnce(&mut State) -> T) -> T {
        let installed = INSTALLED.with(|installed| installed.borrow().as_ref().map(Rc::clone));
        match installed {
            Some(state) => then(&mut state.borrow_mut()),
            None => without,
        }
    }

    pub(crate) fn send(request: &Request) -> Result<Response, Error> {
        let nobody = || {
            Err(Error::defect(
                "a native build has no host: install wharf_sdk::testing::FakeHost first",
            ))
        };
        with(nobody(), |state| {
            let action = request.granted_as();
            state.requests.push(request.clone());
            let scripted =
                state.scripted.get_mut(&action).and_then(std::collections::VecDeque::pop_front);
            scripted
                .or_else(|| state.handler.as_ref().and_then(|handler| handler(request)))
                .unwrap_or_else(|| {
                    Err(Error::defect(format!(
                        "no answer is scripted for `{action}` {:?}",
                        request.query
                    )))
                })
        })
    }

    pub(crate) fn send_all(requests: &[Request]) -> Vec<Result<Response, Error>> {
        requests.iter().map(send).collect()
    }

    pub(crate) fn write(level: Level, message: &str) {
        with((), |state| state.lines.push((level, message.to_owned())));
    }

    pub(crate) fn config_get(key: &str) -> Option<String> {
        with(None, |state| state.config.value(key).map(str::to_owned))
    }

    pub(crate) fn config_all() -> Parameters {
        with(Parameters::new(), |state| state.config.clone())
    }

    pub(crate) fn now() -> u64 {
        with(0, |state| state.now_ms)
    }

    /// Not random at all: a test must be able to repeat itself.
    pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
        let next = |state: &mut State| {
            state.random = state.random.wrapping_add(1);
            state.random
        };
        with(Vec::new(), |state| (0..count).map(|_| next(state)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, clock, config, http, log, random};

    fn ask(action: &str) -> Result<Response, Error> {
        Request::read("e", "POST", "/").signed("cloud", action).send()
    }

    #[test]
    fn answers_are_given_in_order_and_then_by_the_handler() {
        let host = FakeHost::install()
            .answering("A", Response::new(200, "1"))
            .failing("A", Error::unavailable("lost"))
            .handling(|request| (request.action == "B").then(|| Ok(Response::new(200, "b"))));
        assert_eq!(ask("A").unwrap().text(), "1");
        assert_eq!(host.left_over(), 1);
        assert_eq!(ask("A").unwrap_err().kind, ErrorKind::Unavailable);
        let both: Vec<_> = http::send_all(&[
            Request::read("e", "POST", "/").signed("c", "B"),
            Request::read("e", "GET", "/x"),
        ]);
        assert_eq!(both[0].as_ref().unwrap().text(), "b");
        assert!(both[1].as_ref().unwrap_err().message.contains("GET /x"));
        assert_eq!(host.actions(), ["A", "A", "B", "GET /x"]);
    }

    #[test]
    fn nothing_is_left_of_a_host_that_is_gone() {
        {
            let host = FakeHost::install().with_config("k", "v").at_ms(7);
            log::warn("line");
            assert_eq!(
                (
                    config::get("k").as_deref(),
                    clock::now_ms(),
                    random::bytes(3).len(),
                    host.lines()
                ),
                (Some("v"), 7, 3, vec!["line".to_owned()])
            );
        }
        assert_eq!((config::get("k"), clock::now_ms()), (None, 0));
        assert!(ask("A").unwrap_err().message.contains("FakeHost"));
    }

    #[test]
    fn settings_are_read_as_what_they_are() {
        let _host = FakeHost::install()
            .with_config("on", "true")
            .with_config("n", "12")
            .with_config("odd", "yes")
            .with_config("empty", "");
        assert!(config::flag("on").unwrap() && !config::flag("absent").unwrap());
        assert_eq!(
            (config::number("n").unwrap(), config::number("absent").unwrap(), config::get("empty")),
            (Some(12), None, None)
        );
        assert!(config::flag("odd").unwrap_err().message.contains("`odd`"));
        assert!(config::number("odd").is_err());
    }
}
