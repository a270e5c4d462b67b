//! Reading a delivery in pages: one may hold ten thousand alerts.

use super::bounded;
use crate::problem::Problem;

/// Which alerts of a delivery are looked at, and with them which incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Behind the one at this index of the body, from 0; -1: from the first on.
    pub after: i32,
    pub limit: u32,
}

impl Page {
    /// A page as it is asked for: of so many alerts at most, and of so many where nothing is said.
    ///
    /// # Errors
    /// A bound that is none.
    pub fn asked(
        after: Option<i64>,
        limit: Option<i64>,
        (most, usual): (u32, u32),
    ) -> Result<Self, Problem> {
        let limit = bounded("limit", limit, 1..=most, usual)?;
        let after = match after {
            None => -1,
            Some(after) => i32::try_from(after)
                .ok()
                .filter(|after| *after >= 0)
                .ok_or_else(|| Problem::parameter("after", "must be the index of an alert"))?,
        };
        Ok(Self { after, limit })
    }

    /// What to ask for next, when the last one found was at that index of a delivery of so many
    /// alerts.
    pub fn next(last: Option<i32>, of: i32) -> Option<i32> {
        last.filter(|last| last.saturating_add(1) < of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r71_a_page_is_bounded_and_says_what_follows() {
        let page = |after, limit| Page::asked(after, limit, (200, 50)).ok();
        assert_eq!(page(None, None), Some(Page { after: -1, limit: 50 }));
        assert_eq!(page(Some(0), Some(200)), Some(Page { after: 0, limit: 200 }));
        for (after, limit) in
            [(Some(-1), None), (Some(1 << 40), None), (None, Some(0)), (None, Some(201))]
        {
            assert_eq!(page(after, limit), None, "{after:?} {limit:?}");
        }
        assert_eq!(Page::next(Some(49), 51), Some(49));
        assert_eq!((Page::next(Some(50), 51), Page::next(None, 51)), (None, None));
    }
}
