//! How requests end: one closed list of words.

use domain::providers;

/// How a request ended. Every request ends in exactly one of these; the names are metric labels,
/// the field `outcome` of the access log and, for most refusals, the `code` of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the log.
    Accepted,
    /// In the spool, on its way to the log.
    Spooled,
    /// In the log or on its way there, and never an alert: it is about this system's own errors.
    OwnProject,
    /// A question whether somebody listens: answered, nothing stored.
    Handshake,
    /// Nobody answers at this path.
    UnknownSource,
    /// A production source without any credential.
    CredentialsMissing,
    /// The address is on no list.
    ForbiddenIp,
    /// A content encoding that is not read, or a body that is not encoded so.
    Encoding,
    TooLarge,
    /// The body did not arrive in time, or not before others needed its room.
    TooSlow,
    /// The client went away or broke the framing.
    Aborted,
    /// No room for bodies, or the log's queue is full.
    Overloaded,
    /// It did not prove where it comes from.
    Unauthentic,
    /// More than the source, or its project, may send.
    RateLimited,
    /// A person or a script sent what is not JSON, ...
    Malformed,
    /// ... or lacks a field, or names a channel that there is not, ...
    InvalidField,
    /// ... or says it is from somebody who may not send here.
    ForbiddenSender,
    /// Not known to be in the log, nor in the spool.
    NotDurable,
    /// What its proof is checked with could not be fetched.
    NotVerifiable,
}

impl Outcome {
    /// Every outcome, in the order of the discriminants.
    pub const ALL: [Self; 19] = [
        Self::Accepted,
        Self::Spooled,
        Self::OwnProject,
        Self::Handshake,
        Self::UnknownSource,
        Self::CredentialsMissing,
        Self::ForbiddenIp,
        Self::Encoding,
        Self::TooLarge,
        Self::TooSlow,
        Self::Aborted,
        Self::Overloaded,
        Self::Unauthentic,
        Self::RateLimited,
        Self::Malformed,
        Self::InvalidField,
        Self::ForbiddenSender,
        Self::NotDurable,
        Self::NotVerifiable,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Spooled => "spooled",
            Self::OwnProject => providers::OWN_PROJECT,
            Self::Handshake => "handshake",
            Self::UnknownSource => "unknown_source",
            Self::CredentialsMissing => "credentials_missing",
            Self::ForbiddenIp => "forbidden_ip",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Aborted => "aborted",
            Self::Overloaded => "overloaded",
            Self::Unauthentic => "unauthentic",
            Self::RateLimited => "rate_limited",
            Self::Malformed => "malformed",
            Self::InvalidField => "invalid_field",
            Self::ForbiddenSender => "forbidden_sender",
            Self::NotDurable => "not_durable",
            Self::NotVerifiable => "not_verifiable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_listed_once_where_its_number_says() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at, "{}", outcome.name());
        }
        let mut names = Outcome::ALL.map(Outcome::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
