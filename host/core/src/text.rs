//! Text from outside (components, compilers, clouds) made fit for a terminal, a log and a record.

/// Characters that no terminal shows as they are: control characters, and those that reorder or
/// hide the text around them.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// At most so many bytes, in one line: what could deceive a reader becomes a space.
pub fn one_line(text: &str, bytes: usize) -> String {
    cut(text, bytes).chars().map(|it| if is_deceptive(it) { ' ' } else { it }).collect()
}

/// At most so many bytes; line breaks stay.
pub fn lines(text: &str, bytes: usize) -> String {
    let shown = |it: char| if it != '\n' && is_deceptive(it) { ' ' } else { it };
    cut(text, bytes).chars().map(shown).collect()
}

/// At most so many bytes, ending between two characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_a_terminals_cursor_or_turns_a_line_around() {
        let text = "asks\u{1b}[2K\rfor\u{202e}gnihton\u{9b}1A\u{200b}\nend";
        assert_eq!(one_line(text, 99), "asks [2K for gnihton 1A  end");
        assert_eq!(lines(text, 99), "asks [2K for gnihton 1A \nend");
    }

    #[test]
    fn a_cut_ends_between_two_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 9), "aäb");
        // A replacement is never longer than what it replaces.
        assert_eq!(one_line("\u{200b}\u{200b}", 5), " ");
    }
}
