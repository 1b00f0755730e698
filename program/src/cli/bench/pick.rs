//! Which number a measurement asks for next.

/// Which number is next.
#[derive(Clone, Copy)]
pub(super) enum Pick {
    /// Each as likely as any other.
    Uniform,
    /// The first ones most: the chance falls with the rank, as 1 / rank.
    Zipf,
}

impl Pick {
    pub(super) fn of(self, dice: &mut Dice, numbers: usize) -> usize {
        let roll = dice.roll();
        match self {
            Self::Uniform => usize::try_from(roll >> 11).unwrap_or(0) % numbers,
            Self::Zipf => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a chance needs no more than 53 bits"
                )]
                let (chance, all) = ((roll >> 11) as f64 / (1_u64 << 53) as f64, numbers as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most all"
                )]
                let rank = all.powf(chance) as usize;
                (rank - 1).min(numbers - 1)
            }
        }
    }
}

/// Numbers by chance, quick and the same each time (xorshift64*).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
