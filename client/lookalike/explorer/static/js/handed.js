// A dropped or pasted picture, or the reason why it is none.

const TAKEN = "drop a JPEG, PNG, WebP, GIF, BMP or TIFF file";

/** Return {picture}, a file, or {problem}, a sentence. A file without a type may be a picture: the server checks it. */
export function handed(transfer) {
  const files = [...transfer.files];
  const picture = files.find((file) => file.type.startsWith("image/")) ?? files.find((file) => !file.type);
  if (picture && picture.type) return { picture };
  // Folders can be told from files only during the drop event.
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) return { problem: `A folder is not a picture: ${TAKEN}.` };
  if (picture) return { picture };
  if (!files.length) return { problem: `No file was dropped: ${TAKEN}.` };
  return { problem: `${files[0].name} is not a picture: ${TAKEN}.` };
}
