"""The words of the simulated mailbox and phone, in both languages."""

from typing import Any

TEXTS: dict[str, dict[str, Any]] = {
    "zh-TW": {
        "other_language": "English",
        "number": "案件編號",
        "search": "查詢",
        "all": "全部",
        "to": "收件人",
        "at": "收到時間",
        "none": "目前沒有訊息。",
        "count": "則訊息",
        "newer": "較新",
        "older": "較舊",
        "back": "返回列表",
        "refresh": "重新整理",
        "pages": "分頁",
        "parts": "分段數",
        "mailbox": {
            "title": "模擬信箱",
            "notice": "這是本機的模擬信箱：寄到任何地址的郵件都留在這台電腦，不會真的寄出。",
        },
        "phone": {
            "title": "模擬手機",
            "notice": "這是本機的模擬手機：傳到任何號碼的簡訊都留在這台電腦，不會真的發送。",
        },
    },
    "en": {
        "other_language": "中文",
        "number": "Case number",
        "search": "Search",
        "all": "All",
        "to": "To",
        "at": "Received",
        "none": "No messages.",
        "count": "messages",
        "newer": "Newer",
        "older": "Older",
        "back": "Back to the list",
        "refresh": "Refresh",
        "pages": "Pages",
        "parts": "Parts",
        "mailbox": {
            "title": "Simulated mailbox",
            "notice": "This is a mailbox simulated on this machine: mail to any address stays "
            "here, and none is really sent.",
        },
        "phone": {
            "title": "Simulated phone",
            "notice": "This is a phone simulated on this machine: text messages to any number "
            "stay here, and none is really sent.",
        },
    },
}
