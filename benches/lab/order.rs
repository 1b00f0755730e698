//! In which order numbers call.

/// How often each number calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// The second one half as often as the first, the third one a third as often, and so on.
    Zipf,
    /// All of them alike.
    Uniform,
}

impl Spread {
    pub(crate) const BOTH: [Self; 2] = [Self::Zipf, Self::Uniform];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zipf => "zipf",
            Self::Uniform => "uniform",
        }
    }

    /// So many calls of so many numbers.
    pub(crate) fn order<T: Copy>(self, numbers: &[T], calls: usize) -> Vec<T> {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        let mut sum = 0.0;
        let up_to: Vec<f64> = (1..=numbers.len())
            .map(|place| {
                sum += match self {
                    Self::Zipf => 1.0 / super::race::f64_of(place),
                    Self::Uniform => 1.0,
                };
                sum
            })
            .collect();
        // Those that call often are not next to each other in memory.
        let mut shuffled = numbers.to_vec();
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, dice.below(at + 1));
        }
        let call = |dice: &mut Dice| {
            let thrown = dice.fraction() * sum;
            shuffled[up_to.partition_point(|&sum| sum < thrown).min(shuffled.len() - 1)]
        };
        (0..calls).map(|_| call(&mut dice)).collect()
    }
}

/// G. Marsaglia, "Xorshift RNGs" (2003): the same throws in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fraction(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.throw() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.throw() % end as u64).unwrap_or(0)
    }
}
