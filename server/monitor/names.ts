// How the monitor starts the front, and the keeper of sessions.

/** Not for people: without a monitor on the other end it ends at once. */
export const FRONT_OPTION = "--front";
/** Likewise. */
export const KEEPER_OPTION = "--keeper";
/** The descriptor of the link between the two. */
export const LINK_FD = 3;
