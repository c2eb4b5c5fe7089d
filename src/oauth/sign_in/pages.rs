//! The pages that a person sees in the browser: one for each end of a sign-in, and one while it is under way.
//!
//! Promises that nothing on a page came from outside unescaped, and that a page loads nothing and runs nothing.

use super::{AuthorizeError, Authorized};

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: u16,
    mark: &'static str,
    title: &'static str,
    paragraphs: Vec<String>,
    /// Where the browser goes on to by itself.
    next: Option<String>,
}

impl Page {
    fn new(status: u16, mark: &'static str, title: &'static str, text: &str) -> Self {
        Self { status, mark, title, paragraphs: vec![text.to_owned()], next: None }
    }

    fn and(mut self, text: impl Into<String>) -> Self {
        self.paragraphs.push(text.into());
        self
    }

    /// The answer to the callback itself, before the code is spent. It leads on to the outcome.
    pub(super) fn under_way(outcome: &str) -> Self {
        let text =
            "mailchute-auth is fetching its tokens. This page says in a moment which account they are for.";
        Self { next: Some(outcome.to_owned()), ..Self::new(200, "…", "Nearly done", text) }
    }

    /// All is well.
    pub(super) fn signed_in(authorized: &Authorized) -> Self {
        let account = authorized.account.as_ref().map_or_else(
            || "Mailchute may now write to your account.".to_owned(),
            |name| format!("Mailchute may now write to the account “{name}”."),
        );
        let next = "What happens next: a running daemon takes this up by itself within seconds and sends what waited. \
                    If none runs yet, start it with “mailchute run”.";
        let page = Self::new(200, "✓", "Signed in", &account).and(next);
        let page =
            authorized.findings.iter().fold(page, |page, finding| page.and(format!("But: {finding}.")));
        page.and("Nobody needs to sign in again. You can close this window.")
    }

    /// It came to nothing.
    pub(super) fn failed(error: &AuthorizeError) -> Self {
        let title = match error {
            AuthorizeError::Refused { .. } => "Not authorized",
            AuthorizeError::Code { .. } => "The code was not taken",
            AuthorizeError::Client { .. } => "The application was not recognised",
            AuthorizeError::Unreachable { .. } => "The service cannot be reached",
            AuthorizeError::NoRefreshToken | AuthorizeError::NotRenewable { .. } => "Not lasting",
            AuthorizeError::Scope(_) | AuthorizeError::Privileges { .. } => "Not enough rights",
            AuthorizeError::NoAccount { .. } => "No account",
            AuthorizeError::OtherAccount { .. } => "Another account",
            AuthorizeError::Store(_) => "The tokens cannot be kept",
            _ => "Not signed in",
        };
        let close = "The terminal says the same. You can close this window.";
        Self::new(200, "✗", title, "Nothing was authorized.").and(sentence(&error.to_string())).and(close)
    }

    /// An answer that belongs to another sign-in.
    pub(super) fn wrong_state() -> Self {
        let text =
            "This answer belongs to another sign-in. Use the newest address that mailchute-auth has printed.";
        Self::new(400, "✗", "Not this sign-in", text)
    }

    /// The callback's address without an answer.
    pub(super) fn no_answer() -> Self {
        let text = "This address brought no answer from the sign-in. Use the address that mailchute-auth has printed.";
        Self::new(400, "✗", "No answer", text)
    }

    /// Another address.
    pub(super) fn stranger() -> Self {
        let text = "This is mailchute-auth, waiting for one browser to come back.";
        Self::new(404, "✗", "Nothing here", text)
    }

    /// Another method than GET.
    pub(super) fn wrong_method() -> Self {
        Self::new(405, "✗", "Only GET", "A browser that comes back from a sign-in sends GET.")
    }

    /// The page as HTML.
    pub(super) fn html(&self) -> String {
        let Self { mark, title, paragraphs, next, .. } = self;
        let tone = if *mark == "✗" { "bad" } else { "good" };
        let text: String = paragraphs.iter().map(|text| format!("<p>{}</p>", escape(text))).collect();
        let next =
            next.as_ref().map(|next| format!("<meta http-equiv=refresh content=\"0;url={}\">", escape(next)));
        format!(
            "<!doctype html><html lang=en><head><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width,initial-scale=1\">{}\
             <title>{title} – Mailchute</title><style>{STYLE}</style></head>\
             <body><main><p class=name>Mailchute</p><h1><span class={tone}>{mark}</span> {title}</h1>{text}</main></body></html>",
            next.unwrap_or_default()
        )
    }
}

/// One column that reads well on a telephone and a wide screen, by day and by night.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1.1rem/1.55 system-ui,sans-serif;margin:0;\
display:grid;min-height:100vh;place-items:center}main{max-width:34rem;padding:2rem;margin:1rem;\
border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.8rem}\
h1{margin:.2rem 0 1rem;font-size:1.7rem}.good{color:#2a8a4a}.bad{color:#c0392b}.name{margin:0;opacity:.65}p{margin:.6rem 0}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str().trim_end_matches('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_text_and_nothing_else() {
        let error = AuthorizeError::refused("x\"y".to_owned(), "<script>alert(1)</script>".to_owned());
        let html = Page::failed(&error).html();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(Page::under_way("/a\"b").html().contains("url=/a&quot;b"));
    }
}
