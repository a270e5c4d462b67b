//! What may be shown of text that strangers wrote.

/// Characters that are not shown but change what is: controls, marks that turn the reading
/// direction, invisible separators, tags. Joiners and variation selectors stay, because emoji and
/// some scripts are made with them.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{AD}'
                | '\u{61C}'
                | '\u{200B}'
                | '\u{200E}'
                | '\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{2069}'
                | '\u{FEFF}'
                | '\u{E0000}'..='\u{E007F}'
        )
}
