//! The row of states under a counterexample: before its first operation, and after each step of the legal order.

use tribunal_history::Finding;

use super::timeline::{LEFT, OPEN_END};
use super::{Picture, text_width};
use crate::words;

const APART: f64 = 18.0;
const ROW: f64 = 28.0;
const STATE_CHARS_MAX: usize = 28;

/// Steps that are shown.
const STEPS_MAX: usize = 80;

/// Draws the states from `top` on, each under the sign of its operation (`centres`, by place in the finding) as
/// far as there is room, else one after another in rows. Returns where they end.
pub fn draw(picture: &mut Picture, finding: &Finding, centres: &[Option<[f64; 2]>], top: f64) -> f64 {
    let of = finding
        .key
        .as_ref()
        .map_or_else(String::new, |key| format!(" of {key}"));
    let name = words::clip(&words::visible(&format!("state{of}")), 16);
    picture.text("name", [8.0, top + 16.0], &name);
    let mut chips = vec![Chip::new(None, &finding.state_before.to_string(), LEFT)];
    for (place, placed) in finding.longest_legal.iter().enumerate().take(STEPS_MAX) {
        let under = centres.get(placed.operation).copied().flatten();
        let x = under.map_or(LEFT, |[x, _]| x - 11.0);
        chips.push(Chip::new(Some(place + 1), &placed.state.to_string(), x));
    }
    let mut y = top;
    if chips.iter().map(|chip| chip.width + APART).sum::<f64>() <= OPEN_END - LEFT {
        spread(&mut chips);
        for pair in chips.windows(2) {
            arrow(picture, pair[0].x + pair[0].width, pair[1].x, y);
        }
        for chip in &chips {
            chip.draw(picture, [chip.x, y]);
        }
    } else {
        let mut x = LEFT;
        for chip in &chips {
            if x + chip.width > OPEN_END {
                x = LEFT;
                y += ROW;
            }
            if x > LEFT {
                arrow(picture, x - APART, x, y);
            }
            chip.draw(picture, [x, y]);
            x += chip.width + APART;
        }
    }
    y + ROW + 4.0
}

fn arrow(picture: &mut Picture, from: f64, to: f64, y: f64) {
    picture.line("then", [from + 3.0, y + 12.0], [to - 3.0, y + 12.0]);
}

/// A state of the object.
struct Chip {
    step: Option<usize>,
    text: String,
    title: String,
    x: f64,
    width: f64,
}

impl Chip {
    fn new(step: Option<usize>, state: &str, x: f64) -> Self {
        let text = words::clip(&words::visible(state), STATE_CHARS_MAX);
        let sign = if step.is_some() {
            25.0
        } else {
            19.0 + text_width("before", 12.0, false)
        };
        Self {
            step,
            title: words::clip(state, 1_000),
            width: sign + text_width(&text, 13.0, true) + 11.0,
            text,
            x,
        }
    }

    fn draw(&self, picture: &mut Picture, [x, y]: [f64; 2]) {
        picture.titled(&self.title, |picture| {
            picture.rect("chip", [x, y], [self.width, 24.0], 12.0);
            match self.step {
                Some(step) => {
                    picture.circle("placed", [x + 12.0, y + 12.0], 8.0);
                    picture.text("sign small middle", [x + 12.0, y + 15.5], &step.to_string());
                    picture.text("state", [x + 25.0, y + 16.0], &self.text);
                }
                None => picture.text_with("quiet", [x + 11.0, y + 16.0], "before", "state", &self.text),
            }
        });
    }
}

/// Moves chips apart, in their order: first to the right, then what is too far back to the left. There is room
/// for all of them.
fn spread(chips: &mut [Chip]) {
    let mut free_from = LEFT;
    for chip in chips.iter_mut() {
        chip.x = chip.x.max(free_from);
        free_from = chip.x + chip.width + APART;
    }
    let mut free_to = OPEN_END;
    for chip in chips.iter_mut().rev() {
        chip.x = chip.x.min(free_to - chip.width);
        free_to = chip.x - APART;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_moved_apart_and_stay_within() {
        let mut chips: Vec<Chip> = [LEFT, 1_100.0, 1_100.0, 1_150.0]
            .into_iter()
            .map(|x| Chip::new(Some(1), "17", x))
            .collect();
        spread(&mut chips);
        assert!(chips[0].x >= LEFT);
        for pair in chips.windows(2) {
            assert!(pair[0].x + pair[0].width + APART <= pair[1].x + 0.001);
        }
        assert!(chips[3].x + chips[3].width <= OPEN_END + 0.001);
    }
}
