//! The address on which the browser ended, brought by the person: no listener, so that it works from any machine.

use std::io;

use secrecy::SecretString;
use url::Url;

use super::AuthorizeError;
use super::callback::{Callback, understand};

/// How often an unfit paste is asked for again: after this somebody is piping in the wrong file.
const TRIES: usize = 5;

/// Asks until an address with this sign-in's answer is brought.
pub(super) fn ask(
    redirect_uri: &str,
    state: &SecretString,
    bring: &mut dyn FnMut(&str) -> io::Result<Option<String>>,
) -> Result<SecretString, AuthorizeError> {
    let mut prompt = format!(
        "After you have allowed the access, your browser goes to an address that begins with {redirect_uri} and probably \
         shows an error: that is as it should be. Paste the whole address from the address bar here:"
    );
    for _ in 0..TRIES {
        let Ok(Some(pasted)) = bring(&prompt) else { break };
        let query = query(&pasted);
        match query.map_or(Callback::NoAnswer, |query| understand(&query, state)) {
            Callback::Code(code) => return Ok(code),
            Callback::Refused { error, said } => return Err(AuthorizeError::refused(error, said)),
            Callback::WrongState => {
                "That address belongs to another sign-in. Visit the address above and paste the one that it ends on:"
                    .clone_into(&mut prompt);
            }
            Callback::NoAnswer => {
                prompt = format!(
                    "That is not the whole address: it begins with {redirect_uri} and holds `code=` and `state=`. Paste it:"
                );
            }
        }
    }
    Err(AuthorizeError::NothingPasted { redirect_uri: redirect_uri.to_owned() })
}

/// The query of a pasted address, which a terminal or a mail program may have put into quotes, brackets or lines.
fn query(pasted: &str) -> Option<String> {
    let whole: String = pasted.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = whole.trim_matches(['"', '\'', '<', '>', '`']);
    Url::parse(bare).ok()?.query().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn pasted(lines: &[&str]) -> Result<String, String> {
        let mut lines = lines.iter();
        let mut bring = |_: &str| Ok(lines.next().map(|line| (*line).to_owned()));
        ask("https://localhost", &"right".into(), &mut bring)
            .map(|code| code.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_unfit_paste_is_asked_for_again() {
        let good = "  <https://localhost/?code=abc&state=right>\n";
        assert_eq!(pasted(&["abc", "https://localhost/?code=abc&state=wrong", good]), Ok("abc".to_owned()));
        assert!(pasted(&[]).unwrap_err().contains("begins with `https://localhost`"));
        assert!(pasted(&["x"; 9]).unwrap_err().contains("no address was pasted"));
        let denied = "https://localhost/?error=access_denied&state=right";
        assert!(pasted(&[denied]).unwrap_err().contains("account's owner"));
    }
}
