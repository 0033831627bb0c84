//! How messages become bytes: prost, with small buffers.
//!
//! gRPC's usual buffers have 8 KiB, one for each message in each direction. CSI's messages have a
//! few hundred bytes, and the allocator of the static binary asks the kernel for pages for every
//! buffer of that size and gives them back after the call. A larger message grows its buffer.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// Most messages fit into this; a buffer that does not grow is not copied either.
const BUFFER_BYTES: usize = 512;
/// What collects before it is sent on, as gRPC has it: it matters for streams, and CSI has none.
const YIELD_BYTES: usize = 32 << 10;

/// Encodes `T` and decodes `U`.
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
