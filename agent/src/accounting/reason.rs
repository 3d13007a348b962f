//! The names of losses outside the kernel.

macro_rules! drop_reasons {
    ($($variant:ident = $name:literal, $sentence:literal;)+) => {
        /// Why samples that left the kernel were lost. Losses inside the kernel have the name of
        /// their [`ResultCode`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Stable `snake_case` name, used as a metric label and on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }
        }
    };
}

drop_reasons! {
    Undecodable = "undecodable",
        "A record of the ring buffer could not be read.";
    SealFailed = "seal_failed",
        "A batch could not be compressed.";
    TooLarge = "too_large",
        "A batch was larger than any collector accepts.";
    BufferFull = "buffer_full",
        "The memory buffer had no room, and the spool could not take the batch.";
    SpoolFull = "spool_full",
        "The spool had no room; its oldest batch made way.";
    SpoolError = "spool_error",
        "The spool could not be written or read, and the memory buffer had no room.";
    SpoolDamaged = "spool_damaged",
        "A file of the spool was damaged after it had been written.";
    Rejected = "rejected",
        "The collector refused the batch for good.";
    Shutdown = "shutdown",
        "The agent ended with no collector to take the batch and no spool to keep it.";
}
