// bcrypt-pbkdf brings no types of its own.

declare module "bcrypt-pbkdf" {
  const bcrypt: {
    /** One round. @param secret - 64 bytes. @param salt - 64 bytes. @param out - 32 bytes, filled. */
    hash(secret: Uint8Array, salt: Uint8Array, out: Uint8Array): void;
  };
  export default bcrypt;
}
