from casebus.main import main

main()
