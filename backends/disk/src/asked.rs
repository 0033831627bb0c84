//! Resume tokens of requests whose effect a listing shows only after a moment: what was asked for,
//! and how often the old state was seen since.

/// The token of the next look, or `None` when it is time to ask: nothing was asked for yet, or
/// `most` looks have shown the old state.
pub fn next_look(resume: Option<&str>, what: &str, most: u32) -> Option<String> {
    let looks: u32 = resume?.strip_prefix(what)?.parse().ok()?;
    (looks < most).then(|| format!("{what}{}", looks + 1))
}

/// The token of a request that was sent just now.
pub fn just_now(what: &str) -> String {
    format!("{what}0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_after_so_many_looks() {
        let mut looks = Vec::new();
        let mut resume = Some(just_now("asked:"));
        while let Some(token) = resume {
            resume = next_look(Some(&token), "asked:", 2);
            looks.push(token);
        }
        assert_eq!(looks, ["asked:0", "asked:1", "asked:2"]);
    }

    #[test]
    fn what_was_not_asked_for_is_asked_for_now() {
        for resume in [None, Some("other:0"), Some("asked:"), Some("asked:x")] {
            assert_eq!(next_look(resume, "asked:", 2), None, "{resume:?}");
        }
    }
}
