/** Whether somebody listens there. That the file exists tells only that it is bound: connecting may still be refused. */
export function isListening(socket: string): boolean;
