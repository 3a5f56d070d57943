// How the monitor starts the front.

/** Not for people: without a monitor on the other end it ends at once. */
export const FRONT_OPTION = "--front";
/** The descriptor of the link between the two. */
export const LINK_FD = 3;
