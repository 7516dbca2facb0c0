// A dropped or pasted image, or the reason why it is none.

const TAKEN = "drop a JPEG, PNG, WebP, GIF, BMP or TIFF file";

/** Return {image}, a file, or {problem}, a sentence. A file without a type may be an image: the server checks it. */
export function handed(transfer) {
  const files = [...transfer.files];
  const image = files.find((file) => file.type.startsWith("image/")) ?? files.find((file) => !file.type);
  if (image && image.type) return { image };
  // Folders can be told from files only during the drop event.
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) return { problem: `A folder is not an image: ${TAKEN}.` };
  if (image) return { image };
  if (!files.length) return { problem: `No file was dropped: ${TAKEN}.` };
  return { problem: `${files[0].name} is not an image: ${TAKEN}.` };
}
