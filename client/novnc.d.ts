// As much of noVNC 1.7.0 as client/desktop-screen.ts uses. Its package has no types. What begins with an underscore is the
// library's own affair: the version is pinned, and docs/decisions/0031-a-desktop-by-the-channel.md says why it is touched.

declare module "@novnc/novnc" {
  interface RfbEvents {
    connect: unknown;
    disconnect: { readonly clean: boolean };
    credentialsrequired: { readonly types: readonly string[] };
    serververification: unknown;
    securityfailure: { readonly status: number; readonly reason?: string };
    clipboard: { readonly text: string };
    desktopname: { readonly name: string };
  }

  /** Something like a web socket. */
  interface RawChannel {
    binaryType: string;
    readonly protocol: string;
    readonly readyState: string;
    onopen: (() => void) | null;
    onmessage: ((event: { readonly data: ArrayBuffer }) => void) | null;
    onclose: ((event: { readonly code?: number }) => void) | null;
    onerror: ((event: unknown) => void) | null;
    send(bytes: Uint8Array): void;
    close(): void;
  }

  interface RfbSocket {
    flush(): void;
    /** @returns whether so many bytes are not there yet. @param back - bytes that were taken and are put back then. */
    rQwait(what: string, length: number, back?: number): boolean;
    rQpeekBytes(length: number): Uint8Array;
  }

  interface RfbRectangle {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
    readonly encoding: number;
  }

  export default class RFB {
    static readonly messages: { clientEncodings(socket: RfbSocket, encodings: readonly number[]): void };
    constructor(place: HTMLElement, channel: RawChannel, options?: { readonly shared?: boolean });
    background: string;
    viewOnly: boolean;
    scaleViewport: boolean;
    resizeSession: boolean;
    qualityLevel: number;
    compressionLevel: number;
    addEventListener<Name extends keyof RfbEvents>(
      name: Name,
      listener: (event: CustomEvent<RfbEvents[Name]>) => void,
    ): void;
    disconnect(): void;
    sendCredentials(credentials: { readonly username?: string; readonly password?: string }): void;
    approveServer(): void;
    sendCtrlAltDel(): void;
    clipboardPasteFrom(text: string): void;
    focus(options?: FocusOptions): void;

    protected readonly _sock: RfbSocket;
    protected readonly _display: { flush(): Promise<unknown> };
    protected readonly _keyboard: { _allKeysUp(): void };
    protected readonly _fbWidth: number;
    protected readonly _fbHeight: number;
    protected _rfbConnectionState: string;
    protected _rfbCleanDisconnect: boolean;
    protected _updateConnectionState(state: "disconnecting" | "disconnected"): void;
    protected _fail(details: string): false;
    /** The one at hand. */
    protected readonly _FBU: RfbRectangle;
    /** @returns false: more bytes of it have to come. */
    protected _handleRect(): boolean;
    protected _handleServerCutText(): boolean;
    protected _resize(width: number, height: number): void;
    protected _sendEncodings(): void;
    protected _isSupportedSecurityType(type: number): boolean;
  }
}
