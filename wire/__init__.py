"""Bytes to MongoDB messages and back, without I/O.

Owns: message framing and the standard header, OP_MSG, OP_COMPRESSED with its compressors, the legacy
handshake opcodes, the raw BSON walk and splice, CRC-32C, and every limit on a length that comes from a peer.

The walk: `framing.Framer.feed` cuts a byte stream into whole messages; `op_msg.parse_op_msg` finds the
sections of one; `raw_bson.elements` walks a document without decoding it; `raw_bson.splice` writes a message
again with some elements replaced and all the lengths above them corrected. Everything works on offsets into
the message's own bytes, so what is not edited is never copied through a decoder. All of it may be compiled
but for `compressors`, which calls libraries.

May not import: any other room, asyncio, socket, ssl, logging, time, os.
Specifications: bsonspec.org 1.1; the MongoDB wire protocol; OP_MSG (driver specifications).
"""
