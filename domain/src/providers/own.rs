//! Which of a sender's projects are this system's own: what happens in them is told there, and telling
//! it here too would make the next error of the next telling (R63).

/// The projects this system reports its own errors to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Where reports go: the host and the project's id there.
    reported_to: Option<(String, String)>,
    /// Ids or short names of further ones, wherever they are.
    named: Vec<String>,
}

impl Own {
    /// The project that reports go to (host and id), and those that somebody named; `None` where
    /// there is neither.
    pub fn new(reported_to: Option<(String, String)>, named: Vec<String>) -> Option<Self> {
        (reported_to.is_some() || !named.is_empty()).then_some(Self { reported_to, named })
    }

    /// Whether a project that goes by these names, and whose pages stand at `url`, is one of them.
    ///
    /// Ids are counted by each installation of the sender anew. So one that was not named, but is
    /// known from where reports go, counts on a host of the same installation only.
    pub fn is<'a>(&self, names: impl IntoIterator<Item = &'a str>, url: Option<&str>) -> bool {
        names.into_iter().any(|name| {
            let reported_to = self.reported_to.as_ref().is_some_and(|(host, id)| {
                id == name && url.and_then(host_of).is_none_or(|at| same_installation(host, at))
            });
            reported_to || self.named.iter().any(|named| named == name)
        })
    }
}

fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    (!host.is_empty()).then_some(host)
}

/// Reports and pages are on hosts of one domain: `o1.ingest.sentry.example`, `shop.sentry.example`.
fn same_installation(one: &str, other: &str) -> bool {
    let domain = |host: &str| {
        let host = host.to_ascii_lowercase();
        let is_address = host.contains(':') || host.split('.').all(|p| p.parse::<u8>().is_ok());
        let from = if is_address { None } else { host.rmatch_indices('.').nth(1) };
        from.map_or(host.clone(), |(at, _)| host[at + 1..].to_owned())
    };
    domain(one) == domain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r63_a_project_is_known_by_where_reports_go_or_by_its_name() {
        let named = vec!["gateway".to_owned(), "77".to_owned()];
        let reported_to = ("o1.ingest.us.sentry.io".to_owned(), "42".to_owned());
        let own = Own::new(Some(reported_to), named).unwrap();
        let check = |names: &[&str], url: Option<&str>, expect: bool| {
            assert_eq!(own.is(names.iter().copied(), url), expect, "{names:?} {url:?}");
        };
        check(&["42"], None, true);
        check(&["42"], Some("https://shop.sentry.io/issues/1/"), true);
        check(&["shop", "42"], Some("https://SENTRY.io:443/issues/1/"), true);
        // Another installation counts from 1 as well.
        check(&["42"], Some("https://sentry.example.com/issues/1/"), false);
        check(&["42"], Some("https://notsentry.io/issues/1/"), false);
        check(&["42"], Some("https://x@evil.example/sentry.io"), false);
        check(&["gateway"], Some("https://sentry.example.com/issues/1/"), true);
        check(&["77"], None, true);
        check(&["4", "421", "Gateway", ""], None, false);
        check(&[], None, false);
        assert_eq!(Own::new(None, vec![]), None);
    }

    #[test]
    fn r63_an_address_is_no_domain() {
        assert!(same_installation("127.0.0.1", "127.0.0.1"));
        assert!(!same_installation("10.1.0.1", "10.2.0.1"));
        assert!(same_installation("sentry", "sentry"));
        assert!(!same_installation("io", "sentry.io"));
    }
}
