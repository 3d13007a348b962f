//! A list of debuginfod servers, as people and distributions write it.

use reqwest::Url;

/// Servers in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<Url>);

// === impl Servers ===

impl Servers {
    /// Reads URLs between commas and spaces; `DEBUGINFOD_URLS` has spaces. Policies for signatures
    /// (`ima:…`), which may stand among them, are for the system's packages and mean nothing here.
    ///
    /// # Errors
    /// When one is no address of a server.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let words = words.filter(|word| !word.is_empty() && !word.starts_with("ima:"));
        words.map(server).collect::<Result<_, _>>().map(Self)
    }

    /// The servers.
    pub fn urls(&self) -> impl Iterator<Item = Url> {
        self.0.iter().cloned()
    }
}

fn server(text: &str) -> Result<Url, String> {
    let expected = "expected a URL such as https://debuginfod.example.com";
    let url: Url = text.parse().map_err(|error| format!("{text:?}: {error}; {expected}"))?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    if fits { Ok(url) } else { Err(format!("{text:?}: {expected}")) }
}
